"""One rated answer a record: TRL's, LLaMA-Factory's, Axolotl's and ms-swift's forms, and plain ratings."""

from collections.abc import Container

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Record, cell, with_outer
from kto_tui.data.formats.checks import refuse_beside, require_text
from kto_tui.data.formats.messages import (
    answer_alone,
    assistant,
    from_text,
    is_filled,
    looks_like_messages,
    read_messages,
    split_answer,
    text_or_messages,
    turns_before,
    user,
    with_system,
)
from kto_tui.data.formats.names import (
    BESIDE,
    CHATS,
    HISTORIES,
    JOINED,
    MEDIA,
    PROMPTS,
    SYSTEMS,
    TEMPLATE_OPTIONS,
)
from kto_tui.data.formats.ratings import Judge, Judged
from kto_tui.data.formats.tools import read_tools
from kto_tui.data.rows import Message, Row
from kto_tui.data.wording import shown

INPUT = "input"
BESIDE_PROMPTS = (*SYSTEMS, *HISTORIES)
# What only a conversation has a place for.
UNREAD_IN_TEXT = frozenset(("tools", TEMPLATE_OPTIONS))
ONLY_TALK = (*BESIDE_PROMPTS, *sorted(UNREAD_IN_TEXT))
_WHOLE = (
    "have none; give all rows that column (empty where there is nothing), or write the prompts as messages"
)
_LATE = {
    **dict.fromkeys(ONLY_TALK, "are text; write the prompts as messages"),
    **dict.fromkeys((*BESIDE_PROMPTS, *PROMPTS, *CHATS), _WHOLE),
    INPUT: "have none; put a row that has one first, so that it is joined to the prompt",
}


class Rated(Judged):
    """A record with a column for its rating."""

    def __init__(
        self, name: str, judge: Judge, uses: tuple[str, ...], also: tuple[str, ...] = HISTORIES
    ) -> None:
        super().__init__(name, judge, with_outer((*uses, *also, judge.column)) | BESIDE, uses)

    def _label(self, record: Record, where: str) -> bool:
        return self._judge.of_record(record, where)


class PromptCompletion(Rated):
    """A column for the prompt and one for the answer, each text or messages.

    Text alone stays text, as in TRL. With `chat` all rows are conversations, and text is one message: where
    the first records have messages, a system prompt or a history, and in formats that are for chat. `join`:
    an `input` beside belongs to the prompt. `literal`: text of the answer is never messages.
    """

    def __init__(
        self,
        name: str,
        judge: Judge,
        prompt: str,
        completion: str,
        *,
        chat: bool = False,
        join: bool = False,
        literal: bool = True,
    ) -> None:
        super().__init__(name, judge, (prompt, completion), (*HISTORIES, *((INPUT,) if join else ())))
        self.expects = f"an object with {prompt}, {completion} and {judge.column}"
        self._prompt, self._completion = prompt, completion
        self._chat, self._join, self._literal = chat, join, literal
        self._late = () if completion == INPUT else late_names(prompt, join)

    def _rows(self, record: Record, where: str) -> list[Row]:
        asked = cell(record, self._prompt, "--prompt-column", where)
        said = cell(record, self._completion, "--completion-column", where)
        if type(asked) is str and type(said) is str and not self._chat:
            refuse_late(record, (*ONLY_TALK, *self._late), self.unread, where)
            refuse_media(record, where)
            require_plain(asked, self._prompt, where)
            require_text(said, f'"{self._completion}"', where)
            return [Row(asked, said, self._label(record, where), where)]
        refuse_late(record, self._late, self.unread, where)
        prompt = instruction(record, self._prompt, where, join=self._join)
        answer = text_or_messages(said, self._completion, assistant, where, literal=self._literal)
        prompt, answer = answer_alone(prompt, answer, self._completion, where)
        refuse_beside(record, where)
        return [Row(prompt, answer, self._label(record, where), where, read_tools(record, where))]


class Conversation(Rated):
    """One list of messages, the last of which is the rated answer."""

    def __init__(self, name: str, judge: Judge, column: str) -> None:
        super().__init__(name, judge, (column,))
        self.expects = f"an object with {column} and {judge.column}"
        self.left = frozenset(HISTORIES)  # Earlier turns may as well be those of the messages.
        self._column = column

    def _rows(self, record: Record, where: str) -> list[Row]:
        value = cell(record, self._column, "--prompt-column and --completion-column", where)
        prompt, completion = split_answer(read_messages(value, self._column, where), self._column, where)
        refuse_late(record, HISTORIES, self.unread, where)
        refuse_beside(record, where)
        prompt = with_system(prompt, record, where)
        return [Row(prompt, completion, self._label(record, where), where, read_tools(record, where))]


def instruction(record: Record, column: str, where: str, *, join: bool = True) -> list[Message]:
    """The prompt of a record as alpaca files have it: system, history, instruction, input (if to `join`)."""
    asked = from_text(cell(record, column, "--prompt-column", where), column, where)
    given = record.get(INPUT) if join and column != INPUT else None
    if given:
        if not isinstance(given, str):
            raise UserError(f'{where}: "{INPUT}" is {shown(given)}; expected text')
        if not isinstance(asked, str):
            raise UserError(f'{where}: "{INPUT}" stands beside messages in "{column}"; write it among them')
        # As LLaMA-Factory joins them; an instruction of nothing leaves the input alone.
        asked = f"{asked}\n{given}" if asked else given
    messages = text_or_messages(asked, column, user, where)
    if column in BESIDE_PROMPTS:
        record = {name: value for name, value in record.items() if name != column}
    return with_system([*turns_before(record, where), *messages], record, where)


def refuse_late(record: Record, names: tuple[str, ...], unread: Container[str], where: str) -> None:
    """Refuse what belongs to a conversation where the first rows are text: what these mean would change.

    Columns that the first rows fill and that are not read are `unread`: people know of them.
    """
    for name in names:
        if name in record and name not in unread and is_filled(record[name]) and record[name] != {}:
            raise UserError(f'{where}: "{name}" belongs to a conversation, and the first rows {_LATE[name]}')


def refuse_media(record: Record, where: str) -> None:
    """Refuse text that shows the model more than text."""
    if media := {name: record[name] for name in MEDIA if name in record}:
        refuse_beside(media, where)


def late_names(prompt: str, join: bool) -> tuple[str, ...]:
    """With a prompt in that column: an `input` that first rows have not, if it may belong to the prompt."""
    return (INPUT,) if not join and prompt in ("prompt", *JOINED) else ()


def require_plain(prompt: str, column: str, where: str) -> None:
    """Refuse a prompt that is empty, or messages among those of text: the first rows are no chats."""
    if looks_like_messages(prompt):
        from_text(prompt, column, where)
        raise UserError(
            f'{where}: "{column}" holds messages as JSON text, and the first rows plain text;'
            " write all of them as messages, or none"
        )
    require_text(prompt, f'"{column}"', where)
