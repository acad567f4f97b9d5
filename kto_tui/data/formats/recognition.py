"""Which format a source is in, told from its first records."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kto_tui.core.errors import UserError, printable
from kto_tui.data.formats.argilla import recognize_argilla
from kto_tui.data.formats.base import UNREAD_LATE, Format
from kto_tui.data.formats.before import INPUT
from kto_tui.data.formats.label_studio import recognize_label_studio
from kto_tui.data.formats.looking import Look
from kto_tui.data.formats.names import ANSWERS, JOINED, PROMPTS, SYSTEMS
from kto_tui.data.formats.recognized_pairs import recognize_pairs
from kto_tui.data.formats.traces import recognize_traces
from kto_tui.data.formats.unpaired import Conversation, PromptCompletion
from kto_tui.data.rows import CONVERSATION, Columns
from kto_tui.data.wording import listed, shown

KNOWN = (
    "TRL, LLaMA-Factory, Axolotl, ms-swift, HALOs, OpenAI messages or preferences, Argilla, Label Studio,"
    " traces with a score"
)
# Answers side by side, as arenas and HelpSteer, PKU-SafeRLHF and SHP have them, told apart elsewhere.
_SIDE = re.compile(r"(?:response|answer|output|completion|conversation|human_ref)_?[abAB0-2]")


def recognize(records: Sequence[Any], columns: Columns, source: str) -> Format:
    """The format of the records, of which these are the first.

    Raises UserError that lists the columns found, the formats known, and the options that could help.
    """
    found = [record for record in records if isinstance(record, Mapping)]
    if records and not found:
        raise UserError(
            f"{source}, row 1: found {shown(records[0])}; expected an object with {_named(columns)}"
        )
    # What most records fill says more than what one of them does, and that more than what none does.
    looks = [Look(found, columns, source, least) for least in ((len(found) + 1) // 2, 1, 0)]
    if not records:
        judge = looks[0].judge(columns.label)
        return PromptCompletion("TRL unpaired", judge, columns.prompt, columns.completion)
    for look in looks:
        if (known := _recognized(look)) is not None:
            return _noted(known, look)
    raise UserError(_unknown(looks[-1]))


def _recognized(look: Look) -> Format | None:
    recognizers = (_export, recognize_pairs, _unpaired, _scored_trace, _plain_ratings, _trace)
    return next((known for recognizer in recognizers if (known := recognizer(look)) is not None), None)


def _noted(known: Format, look: Look) -> Format:
    """The format with what the records hold that it does not read."""
    _note_names(known, look)
    if look.columns.names_label and look.rating in {*known.uses} - {look.columns.label}:
        known.unnamed = known.unnamed or tuple(look.present)
    if known.columns is not None:
        known.unread = look.unread(known)
        late = look.watched(known).items()
        known.watch({name: why if _changes(known, look.had(name)) else UNREAD_LATE for name, why in late})
    return known


def _changes(known: Format, look: Look) -> bool:
    """Whether rows would be read from other columns in what would have been seen."""
    try:
        other = _recognized(look)
    except UserError:
        return True
    return other is None or other.uses != known.uses


def _note_names(known: Format, look: Look) -> None:
    """Refuse a column that the user named, that is there, and that this format does not read."""
    unused = []
    for option, name, default in look.columns.options():
        if name == default or name in known.uses:
            continue
        if look.is_there(name):
            raise UserError(
                f"{look.source}: {option} {printable(name)} is not used by the format {known.name},"
                f" which reads {listed(known.uses)}; leave that option, or those columns, out"
            )
        unused.append(option)
    known.unused = tuple(unused)


def _export(look: Look) -> Format | None:
    return recognize_argilla(look.records, look.columns, look.source) or recognize_label_studio(
        look.records, look.columns, look.source
    )


def _trace(look: Look) -> Format | None:
    return recognize_traces(look.records, look.columns, look.source)


def _scored_trace(look: Look) -> Format | None:
    known = _trace(look)
    if known is None or not known.settled:
        return None
    # A table with a rating, whose input belongs to an instruction: no trace has both.
    table = INPUT in look.present and look.filled("prompt", *JOINED) and look.rating is not None
    return None if table and look.has(str(look.rating)) and not look.holds(INPUT, list, dict) else known


def _unpaired(look: Look) -> Format | None:
    rating = look.rating or ("reward" if _is_halos(look) and look.has("reward") else None)
    if rating is None:
        return None
    columns, talk = look.columns, look.talk
    whole = look.has(columns.prompt, columns.completion)
    nested = "." in columns.prompt + columns.completion
    if columns.names_answer and (nested or not (whole or talk)) and (traced := _scored_trace(look)):
        return traced
    if whole or (columns.names_answer and not talk):
        return _prompt_completion(look, rating, columns.prompt, columns.completion, "TRL unpaired")
    if talk:
        answer = next((name for name in (columns.completion, *ANSWERS) if look.has(name)), None)
        if answer and look.only_asks(talk):
            return _chat(look, rating, talk, answer, f"ratings ({talk}, {answer})")
        name = look.named(_conversation_name(talk, rating), rating)
        return Conversation(name, look.judge(rating), talk)
    if _is_halos(look):
        return _halos(look, rating)
    return _instruction(look, rating)


def _instruction(look: Look, rating: str) -> Format | None:
    if look.has("instruction", "output"):
        name = "LLaMA-Factory alpaca" if rating == "kto_tag" else "alpaca"
        return _chat(look, rating, "instruction", "output", name)
    if look.has("query", "response"):
        return _chat(look, rating, "query", "response", "ms-swift query and response")
    asked = look.first(("instruction", "question"))
    if asked and look.has("completion"):
        return _chat(look, rating, asked, "completion", f"Axolotl KTO ({asked})")
    if look.holds("completion", list):
        name = look.named("Axolotl KTO, conversations", rating)
        return Conversation(name, look.judge(rating), "completion")
    return None


def _chat(look: Look, rating: str, prompt: str, completion: str, name: str) -> Format:
    """Prompt and answer that are for chat, whether they are text or messages."""
    return PromptCompletion(
        look.named(name, rating),
        look.judge(rating),
        prompt,
        completion,
        chat=True,
        join=look.may_join(prompt),
        texts=look.texts(prompt, completion),
    )


def _prompt_completion(look: Look, rating: str, prompt: str, completion: str, name: str) -> Format:
    also = [INPUT] if look.joins(prompt) else []
    also += ["history"] if look.filled_history(prompt) else []
    if also:
        return _chat(look, rating, prompt, completion, f"{name}, with {' and '.join(also)}")
    beside = look.beside(prompt, completion)
    texts = look.texts(prompt, completion)
    if beside or look.talks(texts, prompt, completion):
        axolotl = any(system in look.present for system in SYSTEMS) and name == "TRL unpaired"
        name = "Axolotl KTO (system, prompt)" if axolotl else f"{name}, conversational"
        return _chat(look, rating, prompt, completion, name)
    form = look.named(f"{name}, text", rating)
    return PromptCompletion(form, look.judge(rating), prompt, completion, texts=texts)


def _conversation_name(column: str, rating: str) -> str:
    if rating == "kto_tag":
        return "LLaMA-Factory sharegpt"
    return "messages (OpenAI, ms-swift)" if column == CONVERSATION else "sharegpt conversations"


def _is_halos(look: Look) -> bool:
    kinds = look.values("type")
    return look.has("prompt", "output") and any(str(kind).endswith("_feedback") for kind in kinds)


def _halos(look: Look, rating: str) -> Format:
    """The reward counts where there is no label, or where the user names it."""
    if look.has("reward") and not look.has(rating) and not look.columns.names_label:
        rating = "reward"
    return _chat(look, rating, "prompt", "output", "HALOs feedback")


def _plain_ratings(look: Look) -> Format | None:
    prompt, answer, rating = look.first(PROMPTS), look.first(ANSWERS), look.rating
    if prompt is None or answer is None or rating is None or look.columns.names_answer:
        return None
    return _prompt_completion(look, rating, prompt, answer, f"ratings ({prompt}, {answer})")


def _named(columns: Columns) -> str:
    return f"{columns.prompt}, {columns.completion} and {columns.label}"


def _unknown(look: Look) -> str:
    columns = look.columns
    options = [
        (columns.prompt, "--prompt-column"),
        (columns.completion, "--completion-column"),
        (columns.label, "--label-column"),
    ]
    if look.talk:
        options = options[2:]
    missing = [pair for pair in options if not look.has(pair[0])] or options[-1:]
    name, option = missing[0]
    advice = f"choose one with {option}"
    if len(sides := [name for name in look.names if _SIDE.fullmatch(name)]) == 2:
        advice = f"write the better of {' and '.join(sides)} as chosen, the worse as rejected"
    return (
        f'{look.source}, row 1: no column "{name}"; found {listed(look.names)} ({advice});'
        f" known formats: {KNOWN}"
    )
