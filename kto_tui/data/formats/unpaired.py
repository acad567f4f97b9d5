"""One rated answer a record: TRL's, LLaMA-Factory's, Axolotl's and ms-swift's forms, and plain ratings."""

from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Format, Record, cell, with_outer
from kto_tui.data.formats.checks import MEDIA, refuse_media, require_assistant, require_text
from kto_tui.data.formats.messages import assistant, read_messages, split_answer, user, with_system
from kto_tui.data.formats.ratings import Judge
from kto_tui.data.formats.tools import read_tools
from kto_tui.data.rows import Message, Row
from kto_tui.data.wording import shown

_BESIDE = frozenset(("system", "tools", *MEDIA))


class Rated(Format):
    """A record with a column for its rating."""

    def __init__(self, name: str, judge: Judge, reads: tuple[str, ...]) -> None:
        super().__init__(name, with_outer((*reads, judge.column)) | _BESIDE)
        self._judge = judge

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
        if type(prompt) is str and type(completion) is str and not self._system:
            require_text(prompt, f'"{self._prompt}"', where)
            require_text(completion, f'"{self._completion}"', where)
            return [Row(prompt, completion, self._label(record, where), where)]
        asked = text_or_messages(prompt, self._prompt, user, where)
        asked = with_system(asked, record.get("system"), where)
        answer = text_or_messages(completion, self._completion, assistant, where)
        require_assistant(answer, self._completion, where)
        refuse_media(record, where)
        return [Row(asked, answer, self._label(record, where), where, read_tools(record, where))]


class Conversation(Rated):
    """One list of messages, the last of which is the rated answer."""

    def __init__(self, name: str, judge: Judge, column: str) -> None:
        super().__init__(name, judge, (column,))
        self.expects = f"an object with {column} and {judge.column}"
        self._column = column

    def _rows(self, record: Record, where: str) -> list[Row]:
        value = cell(record, self._column, "--prompt-column and --completion-column", where)
        prompt, completion = split_answer(read_messages(value, self._column, where), self._column, where)
        refuse_media(record, where)
        prompt = with_system(prompt, record.get("system"), where)
        return [Row(prompt, completion, self._label(record, where), where, read_tools(record, where))]


class Instruction(Rated):
    """An instruction, perhaps with an input, a system prompt and turns before it, and the answer to it."""

    def __init__(self, name: str, judge: Judge, prompt: str, completion: str) -> None:
        super().__init__(name, judge, (prompt, completion, "input", "history"))
        self.expects = f"an object with {prompt}, {completion} and {judge.column}"
        self._prompt, self._completion = prompt, completion

    def _rows(self, record: Record, where: str) -> list[Row]:
        asked = instruction(record, self._prompt, where)
        value = cell(record, self._completion, "--completion-column", where)
        answer = text_or_messages(value, self._completion, assistant, where)
        require_assistant(answer, self._completion, where)
        refuse_media(record, where)
        return [Row(asked, answer, self._label(record, where), where, read_tools(record, where))]


def text_or_messages(value: Any, column: str, said: Any, where: str) -> list[Message]:
    """Messages; text becomes the one message of `said`."""
    if isinstance(value, str):
        messages = [said(value)]
    else:
        messages = read_messages(value, column, where, "text, or a list of messages")
    require_text(messages, f'"{column}"', where)
    return messages


def instruction(record: Record, column: str, where: str) -> list[Message]:
    """The prompt of a record as alpaca files have it: system, history, instruction, input."""
    asked = cell(record, column, "--prompt-column", where)
    given = record.get("input")
    if column != "input" and isinstance(asked, str) and given:
        if not isinstance(given, str):
            raise UserError(f'{where}: "input" is {shown(given)}; expected text')
        # As LLaMA-Factory joins them; an instruction of nothing leaves the input alone.
        asked = f"{asked}\n{given}" if asked else given
    messages = text_or_messages(asked, column, user, where)
    return with_system([*_history(record, where), *messages], record.get("system"), where)


def _history(record: Record, where: str) -> list[Message]:
    turns = record.get("history")
    if turns is None or turns in ("", []):
        return []
    if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
        return read_messages(turns, "history", where)
    messages: list[Message] = []
    for turn in turns if isinstance(turns, list) else [turns]:
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(said, str) for said in turn):
            raise UserError(
                f'{where}: "history" holds {shown(turn)}; expected pairs of text, question and answer'
            )
        messages += [user(turn[0]), assistant(turn[1])]
    require_text(messages, '"history"', where)
    return messages
