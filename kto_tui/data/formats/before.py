"""What stands before the answer of a record: system prompt, earlier turns, question and input.

All formats read it here, so that what belongs to a prompt does so in each of them.
"""

from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Record, cell, is_filled
from kto_tui.data.formats.messages import (
    Texts,
    answer_alone,
    assistant,
    from_text,
    split_system,
    turns_before,
    user,
    with_system,
)
from kto_tui.data.formats.names import CHATS, HISTORIES, JOINED, SYSTEMS
from kto_tui.data.formats.parting import ends_with
from kto_tui.data.rows import Message
from kto_tui.data.wording import shown

INPUT = "input"
BESIDE_PROMPTS = (*SYSTEMS, *HISTORIES)
_FREE = Texts()
_LONG = 20  # So many characters of an input are in a prompt for no other reason.


def exchange(
    record: Record, prompt: str, answer: str, where: str, *, join: bool | None = None, texts: Texts = _FREE
) -> tuple[list[Message], list[Message]]:
    """Prompt and answer of two columns, with all that belongs to the prompt. Raises UserError."""
    before = asked(record, prompt, (answer,), where, join=join, texts=texts)
    whole, said = answered(before, record, answer, where, texts)
    return without_itself(whole, said, record), said


def without_itself(prompt: list[Message], answer: list[Message], record: Record) -> list[Message]:
    """The prompt without the present question and answer, where a history was saved with them in it."""
    if len(prompt) < len(answer) + 2 or not any(is_filled(record.get(name)) for name in HISTORIES):
        return prompt
    for size in range(1, (len(prompt) - len(answer)) // 2 + 1):
        before, question = prompt[:-size], prompt[-size:]
        if ends_with(before, answer) and ends_with(before, [*question, *answer]):
            return [*before[: -size - len(answer)], *question]
    return prompt


def asked(
    record: Record,
    column: str,
    answers: tuple[str, ...],
    where: str,
    *,
    join: bool | None = None,
    texts: Texts = _FREE,
) -> list[Message]:
    """The prompt that those columns answer: system, history, question, input (if to `join`).

    Left open, an input is joined as names go: to an instruction, a question or a query.
    """
    chats = column in texts.chats
    value = cell(record, column, "--prompt-column", where)
    if isinstance(value, str):
        value = from_text(value, column, where, chats=chats, alone="user" if chats else "")
    if column in JOINED if join is None else join:
        value = _with_input(value, record, column, where)
    messages = texts.messages(value, column, user, where)
    refuse_answered(messages, column, answers, where)
    if column in BESIDE_PROMPTS:
        record = {name: value for name, value in record.items() if name != column}
    return put_before(messages, record, where)


def answered(
    prompt: list[Message], record: Record, column: str, where: str, texts: Texts = _FREE
) -> tuple[list[Message], list[Message]]:
    """Prompt and answer, where the answer's column may repeat the prompt."""
    value = cell(record, column, "--completion-column", where)
    return answer_alone(prompt, texts.messages(value, column, assistant, where), column, where)


def put_before(messages: list[Message], record: Record, where: str) -> list[Message]:
    """System prompt and earlier turns in columns of the record, before messages that do not hold them."""
    if before := turns_before(record, where):
        (system, said), (earlier, turns) = split_system(messages), split_system(before)
        if system and earlier and system != earlier:
            raise UserError(
                f"{where}: the history begins with another system prompt than the messages, and one of them"
                " is read; leave one out, or write them as one"
            )
        if said[: len(turns)] == turns:
            turns = []
        elif said and turns[-len(said) :] == said:
            said = []  # A memory that was written down after the question.
        messages = [*(system or earlier), *turns, *said]
    return with_system(messages, record, where)


def refuse_answered(messages: list[Message], column: str, answers: tuple[str, ...], where: str) -> None:
    """Refuse a conversation that ends with an answer, where others stand beside it."""
    if messages[-1]["role"] == "assistant" and column.rpartition(".")[2] in CHATS:
        names = " and ".join(f'"{answer}"' for answer in answers)
        raise UserError(
            f'{where}: the last message of "{column}" is of role "assistant"; expected the prompt that'
            f" {names} answer{'' if len(answers) > 1 else 's'}"
        )


def holds_input(asked: Any, given: Any) -> bool:
    """Whether an input stands in the prompt already.

    A short one may stand there by chance: it counts as a line of its own, or as the last words.
    """
    if not (isinstance(asked, str) and isinstance(given, str)):
        return False
    words = given.strip()
    if len(words) >= _LONG:
        return words in asked
    at = asked.rfind(words)
    alone = at >= 0 and not (at and asked[at - 1].isalnum())
    are_last = alone and not any(char.isalnum() for char in asked[at + len(words) :])
    return are_last or f"\n{words}\n" in f"\n{asked}\n"


def _with_input(value: Any, record: Record, column: str, where: str) -> Any:
    given = record.get(INPUT) if column != INPUT else None
    if not given or (isinstance(given, str) and not given.strip()):
        return value
    if not isinstance(given, str):
        raise UserError(f'{where}: "{INPUT}" is {shown(given)}; expected text')
    if value is None:
        return given
    if not isinstance(value, str):
        raise UserError(f'{where}: "{INPUT}" stands beside messages in "{column}"; write it among them')
    if column not in JOINED and holds_input(value, given):
        return value
    # As LLaMA-Factory joins them; an instruction of nothing leaves the input alone.
    return f"{value}\n{given}" if value else given
