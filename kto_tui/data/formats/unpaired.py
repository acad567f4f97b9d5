"""One rated answer a record: TRL's, LLaMA-Factory's, Axolotl's and ms-swift's forms, and plain ratings."""

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Record, cell, with_outer
from kto_tui.data.formats.checks import refuse_beside, require_assistant, require_text
from kto_tui.data.formats.messages import (
    assistant,
    from_text,
    read_messages,
    split_answer,
    text_or_messages,
    turns_before,
    user,
    with_system,
)
from kto_tui.data.formats.names import BESIDE, HISTORIES, JOINED, SYSTEMS
from kto_tui.data.formats.ratings import Judge, Judged
from kto_tui.data.formats.tools import read_tools
from kto_tui.data.rows import Message, Row
from kto_tui.data.wording import shown

INPUT = "input"


class Rated(Judged):
    """A record with a column for its rating."""

    def __init__(
        self, name: str, judge: Judge, uses: tuple[str, ...], also: tuple[str, ...] = HISTORIES
    ) -> None:
        super().__init__(name, judge, with_outer((*uses, *also, judge.column)) | BESIDE, uses)

    def _label(self, record: Record, where: str) -> bool:
        column = self._judge.column
        return self._judge.desirable(cell(record, column, "--label-column", where), where)


class PromptCompletion(Rated):
    """A column for the prompt and one for the answer, each text or messages.

    Text alone stays text, as in TRL; with a system prompt beside it (Axolotl) it becomes a conversation.
    """

    def __init__(
        self, name: str, judge: Judge, prompt: str, completion: str, *, system: bool = False
    ) -> None:
        super().__init__(name, judge, (prompt, completion))
        self.expects = f"an object with {prompt}, {completion} and {judge.column}"
        self._prompt, self._completion, self._system = prompt, completion, system

    def _rows(self, record: Record, where: str) -> list[Row]:
        prompt = cell(record, self._prompt, "--prompt-column", where)
        completion = cell(record, self._completion, "--completion-column", where)
        prompt = from_text(prompt, self._prompt, where)
        completion = from_text(completion, self._completion, where)
        refuse_late(record, (*HISTORIES, *((INPUT,) if self._prompt in JOINED else ())), where)
        if type(prompt) is str and type(completion) is str and not self._system:
            refuse_late(record, SYSTEMS, where)
            require_text(prompt, f'"{self._prompt}"', where)
            require_text(completion, f'"{self._completion}"', where)
            return [Row(prompt, completion, self._label(record, where), where)]
        asked = text_or_messages(prompt, self._prompt, user, where)
        answer = text_or_messages(completion, self._completion, assistant, where)
        answer = _answer_alone(asked, answer, self._completion, where)
        asked = with_system(asked, record, where)
        refuse_beside(record, where)
        return [Row(asked, answer, self._label(record, where), where, read_tools(record, where))]


class Conversation(Rated):
    """One list of messages, the last of which is the rated answer."""

    def __init__(self, name: str, judge: Judge, column: str) -> None:
        super().__init__(name, judge, (column,), ())
        self.expects = f"an object with {column} and {judge.column}"
        self._column = column

    def _rows(self, record: Record, where: str) -> list[Row]:
        value = cell(record, self._column, "--prompt-column and --completion-column", where)
        prompt, completion = split_answer(read_messages(value, self._column, where), self._column, where)
        refuse_beside(record, where)
        prompt = with_system(prompt, record, where)
        return [Row(prompt, completion, self._label(record, where), where, read_tools(record, where))]


class Instruction(Rated):
    """An instruction, perhaps with an input, a system prompt and turns before it, and the answer to it."""

    def __init__(self, name: str, judge: Judge, prompt: str, completion: str, *, join: bool = True) -> None:
        super().__init__(name, judge, (prompt, completion), (*HISTORIES, *((INPUT,) if join else ())))
        self.expects = f"an object with {prompt}, {completion} and {judge.column}"
        self._prompt, self._completion, self._join = prompt, completion, join

    def _rows(self, record: Record, where: str) -> list[Row]:
        asked = instruction(record, self._prompt, where, join=self._join)
        value = cell(record, self._completion, "--completion-column", where)
        answer = text_or_messages(value, self._completion, assistant, where)
        answer = _answer_alone(asked, answer, self._completion, where)
        refuse_beside(record, where)
        return [Row(asked, answer, self._label(record, where), where, read_tools(record, where))]


def _answer_alone(asked: list[Message], answer: list[Message], column: str, where: str) -> list[Message]:
    """The answer without the prompt, where its column holds the whole conversation."""
    require_assistant(answer, column, where)
    role = answer[0]["role"]
    if role not in ("user", "system"):
        return answer
    if answer[: len(asked)] == asked:
        return answer[len(asked) :]
    if answer[0] == asked[-1]:
        return answer[1:]
    raise UserError(
        f'{where}: "{column}" begins with a message of role {shown(role)} that is not the prompt;'
        " expected the answer alone, or the conversation from the prompt on"
    )


def instruction(record: Record, column: str, where: str, *, join: bool = True) -> list[Message]:
    """The prompt of a record as alpaca files have it: system, history, instruction, input (if to `join`)."""
    asked = from_text(cell(record, column, "--prompt-column", where), column, where)
    given = record.get(INPUT) if join and column != INPUT else None
    if isinstance(asked, str) and given:
        if not isinstance(given, str):
            raise UserError(f'{where}: "{INPUT}" is {shown(given)}; expected text')
        # As LLaMA-Factory joins them; an instruction of nothing leaves the input alone.
        asked = f"{asked}\n{given}" if asked else given
    messages = text_or_messages(asked, column, user, where)
    return with_system([*turns_before(record, where), *messages], record, where)


def refuse_late(record: Record, names: tuple[str, ...], where: str) -> None:
    """Refuse what belongs to a conversation where the format was recognized without it."""
    for name in names:
        if record.get(name) not in (None, "", []):
            raise UserError(
                f'{where}: "{name}" belongs to a conversation, and the first rows have none; give all rows'
                " that column (empty where there is nothing), or write the prompts as messages"
            )
