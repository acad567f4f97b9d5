"""One rated answer a record: TRL's, LLaMA-Factory's, Axolotl's and ms-swift's forms, and plain ratings."""

from collections.abc import Mapping

from kto_tui.data.formats.base import Record, cell, with_outer
from kto_tui.data.formats.before import INPUT, exchange
from kto_tui.data.formats.checks import refuse_beside, require_text
from kto_tui.data.formats.late import (
    TEXT_ALONE,
    WHOLE_TALK,
    knows,
    late_input,
    refuse_media,
    refuse_talk,
    require_plain,
)
from kto_tui.data.formats.messages import Texts, read_messages, split_answer, with_system
from kto_tui.data.formats.names import BESIDE, HISTORIES
from kto_tui.data.formats.parting import without_turns
from kto_tui.data.formats.ratings import Judge, Judged
from kto_tui.data.formats.tools import read_tools
from kto_tui.data.rows import Row


class Rated(Judged):
    """A record with a column for its rating."""

    def __init__(
        self,
        name: str,
        judge: Judge,
        uses: tuple[str, ...],
        also: tuple[str, ...] = (),
        late: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, judge, with_outer((*uses, *also, judge.column)) | BESIDE, uses)
        self.watch(late or {})

    def _label(self, record: Record, where: str) -> bool:
        return self._judge.of_record(record, where)


class PromptCompletion(Rated):
    """A column for the prompt and one for the answer, each text or messages.

    Text alone stays text, as in TRL. With `chat` all rows are conversations, and text is one message: where
    the first records have messages, a system prompt or a history, and in formats that are for chat. `join`:
    an `input` beside belongs to the prompt.
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
        texts: Texts | None = None,
    ) -> None:
        also = (*HISTORIES, *((INPUT,) if join else ()))
        late = {} if completion == INPUT else late_input(prompt, join=join)
        super().__init__(name, judge, (prompt, completion), also, late if chat else {**TEXT_ALONE, **late})
        self.expects = f"an object with {prompt}, {completion} and {judge.column}"
        self._prompt, self._completion, self._texts = prompt, completion, texts or Texts()
        self._chat, self._join = chat, join

    def _knows(self, name: str, record: Record) -> bool:
        return knows(self, name, record, self._prompt)

    def _rows(self, record: Record, where: str) -> list[Row]:
        if not self._chat:
            asked = cell(record, self._prompt, "--prompt-column", where)
            said = cell(record, self._completion, "--completion-column", where)
            if type(asked) is str and type(said) is str:
                refuse_media(record, where)
                require_plain(asked, self._prompt, where)
                said = without_turns(said, asked)
                require_text(said, f'"{self._completion}"', where)
                return [Row(asked, said, self._label(record, where), where)]
            refuse_talk(record, (self._prompt, self._completion), where)
        prompt, answer = exchange(
            record, self._prompt, self._completion, where, join=self._join, texts=self._texts
        )
        refuse_beside(record, where)
        return [Row(prompt, answer, self._label(record, where), where, read_tools(record, where))]


class Conversation(Rated):
    """One list of messages, the last of which is the rated answer."""

    def __init__(self, name: str, judge: Judge, column: str) -> None:
        super().__init__(name, judge, (column,), late=WHOLE_TALK)
        self.expects = f"an object with {column} and {judge.column}"
        self._column = column

    def _rows(self, record: Record, where: str) -> list[Row]:
        value = cell(record, self._column, "--prompt-column and --completion-column", where)
        prompt, completion = split_answer(read_messages(value, self._column, where), self._column, where)
        refuse_beside(record, where)
        prompt = with_system(prompt, record, where)
        return [Row(prompt, completion, self._label(record, where), where, read_tools(record, where))]
