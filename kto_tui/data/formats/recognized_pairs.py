"""Which format of pairs a source is in: where the better and the worse answer stand, and their prompt."""

from collections.abc import Iterable
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Format
from kto_tui.data.formats.late import NO_PROMPT
from kto_tui.data.formats.looking import REJECTED, Look
from kto_tui.data.formats.names import CHATS, PAIRS, PROMPTS, is_about
from kto_tui.data.formats.paired import (
    ChosenRejected,
    HalosPairwise,
    OpenAIPreference,
    RejectedResponse,
)
from kto_tui.data.formats.parting import TURN
from kto_tui.data.rows import CONVERSATION
from kto_tui.data.wording import listed


def recognize_pairs(look: Look) -> Format | None:
    """The format, if the records hold two answers each. Raises UserError if their prompt cannot be told."""
    columns = look.columns
    if look.has(columns.prompt, columns.completion) and look.rating is not None:
        return None
    if look.has(*OpenAIPreference.answers):
        return OpenAIPreference(look.texts(None, *OpenAIPreference.answers))
    if look.has(*HalosPairwise.answers) and look.rating:
        return HalosPairwise(look.rating, look.texts("prompt", *HalosPairwise.answers))
    answers = next((pair for pair in PAIRS if look.has(*pair)), None)
    if answers is not None:
        return _chosen_rejected(look, answers)
    rejected = look.first(REJECTED)
    column = look.talk or look.first(("query",))
    if rejected and column:
        return RejectedResponse("ms-swift pairs", column, rejected, look.texts(column, rejected, "response"))
    return None


def _chosen_rejected(look: Look, answers: tuple[str, str]) -> Format:
    talk = look.talks(look.texts(None, *answers), None, *answers)
    name = "TRL paired" if answers == PAIRS[0] else f"pairs ({', '.join(answers)})"
    given = look.columns.prompt in answers
    prompt = None if given else _prompt_of_pairs(look, talk)
    texts = look.texts(prompt, *answers)
    if prompt is None:
        if not talk and not given:
            _require_no_other_text(look, answers)
        late = {} if given else NO_PROMPT
        form = f"{name}, implicit prompt, {'conversational' if talk else 'text'}"
        return ChosenRejected(form, None, answers=answers, chat=talk, late=late, texts=texts)
    named = prompt == look.columns.prompt != "prompt"
    made_for_chat = prompt == "instruction" or prompt in CHATS
    joins = look.joins(prompt)
    chat = (
        made_for_chat
        or joins
        or look.beside(prompt)
        or look.filled_history(prompt)
        or look.talks(texts, prompt, *answers)
    )
    if made_for_chat and answers == PAIRS[0]:
        name = "LLaMA-Factory pairs"
    else:
        name = f"{name}, {'conversational' if chat else 'text'}"
    joins = look.may_join(prompt) if chat else joins
    return ChosenRejected(name, prompt, answers=answers, chat=chat, join=joins, named=named, texts=texts)


def _prompt_of_pairs(look: Look, talk: bool) -> str | None:
    """The column of the prompt; None if both answers begin with it."""
    named = look.columns.prompt
    if look.has(named):
        return named
    if (usual := look.first((*PROMPTS, "conversations"))) is not None:
        return usual
    asking = (name for name in CHATS if look.has(name) and look.only_asks(name))
    if (asks := next(asking, None)) is not None:
        return asks
    if talk:  # One that is empty so far may say later what the conversation begins with.
        return next((name for name in PROMPTS if name in look.present), None)
    return CONVERSATION if look.has(CONVERSATION) else None


def _require_no_other_text(look: Look, answers: tuple[str, str]) -> None:
    """Refuse to make up a prompt where another column may hold it."""
    if any(TURN in value for value in look.values(answers[0]) if isinstance(value, str)):
        return
    other = [
        name
        for name in look.present
        if name not in answers and not is_about(name) and any(map(_may_ask, look.values(name)))
    ]
    if other:
        raise UserError(
            f"{look.source}: found {listed(other)} beside {answers[0]} and {answers[1]}; choose the prompt"
            f" with --prompt-column, or --prompt-column {answers[0]} if both answers begin with it"
        )


def _may_ask(value: Any) -> bool:
    """Whether it may be a prompt: words, messages or turns."""
    if not isinstance(value, list):
        return _is_words(value)
    parts = (part for item in value for part in _parts(item))
    return any(_is_words(part) or isinstance(part, (list, dict)) for part in parts)


def _parts(item: Any) -> Iterable[Any]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def _is_words(value: Any) -> bool:
    """Whether it may be asked: in a .csv numbers are text too."""
    return (
        isinstance(value, str)
        and any(char.isalpha() for char in value)
        and value.lower() not in ("true", "false", "nan", "none", "null")
    )
