"""A better and a worse answer a record: both become rows, the better one desirable."""

from collections.abc import Iterable, Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Format, Record, TiedError, cell, with_outer
from kto_tui.data.formats.checks import refuse_beside, require_assistant, require_text
from kto_tui.data.formats.messages import (
    answer_alone,
    assistant,
    from_text,
    in_text,
    read_messages,
    split_answer,
    split_system,
    text_or_messages,
    turns_before,
    user,
    with_system,
)
from kto_tui.data.formats.names import BESIDE, CHATS, HISTORIES
from kto_tui.data.formats.parting import (
    beginning,
    common_messages,
    common_text,
    ends_with,
    is_whole,
    without_turns,
)
from kto_tui.data.formats.tools import Tool, parsed, read_tools
from kto_tui.data.formats.unpaired import (
    INPUT,
    ONLY_TALK,
    instruction,
    late_names,
    refuse_late,
    refuse_media,
    require_plain,
)
from kto_tui.data.labels import parse_label
from kto_tui.data.rows import Message, Row, Text
from kto_tui.data.wording import shown


class Pair(Format):
    """Base of the formats with two answers."""

    def __init__(self, name: str, uses: tuple[str, ...], also: tuple[str, ...] = ()) -> None:
        super().__init__(name, with_outer((*uses, *also)) | BESIDE, uses)
        self.expects = f"an object with {' and '.join(uses[-2:])}"

    @staticmethod
    def _both(
        prompt: Text, better: Text, worse: Text, where: str, tools: list[Tool] | None = None
    ) -> list[Row]:
        if better == worse:
            raise TiedError(f"{where}: the better and the worse answer are the same")
        return [Row(prompt, better, True, where, tools), Row(prompt, worse, False, where, tools)]


class ChosenRejected(Pair):
    """A better and a worse answer, with a prompt in a column of its own or as their common beginning.

    All text stays text, as in TRL; with `chat` all rows are conversations. An answer may hold the whole
    conversation: that wins over the prompt's column (UltraFeedback has both), but for a system prompt and
    turns there, and not over a column that the user `named`. `late`: columns that would be part of the
    prompt, and that the first records have not. Text in the columns of `literal` is never messages.
    """

    def __init__(
        self,
        name: str,
        prompt: str | None,
        *,
        answers: tuple[str, str] = ("chosen", "rejected"),
        chat: bool = False,
        join: bool = False,
        named: bool = False,
        late: tuple[str, ...] = (),
        literal: frozenset[str] = frozenset(),
    ) -> None:
        uses = answers if prompt is None else (prompt, *answers)
        super().__init__(name, uses, (*HISTORIES, *((INPUT,) if join else ())))
        self._prompt, self._answers, self._chat, self._join, self._named = prompt, answers, chat, join, named
        self._late = late if prompt is None else (*late, *late_names(prompt, join))
        self._literal = literal

    def passed_over(self, records: Iterable[Record]) -> tuple[str, ...]:
        """The columns of the prompt whose text is not in the conversations that the answers hold."""
        if self._named or self._prompt is None:
            return ()
        names = (self._prompt, INPUT) if self._join else (self._prompt,)
        return tuple(name for name in names if any(self._is_elsewhere(record, name) for record in records))

    def _is_elsewhere(self, record: Record, name: str) -> bool:
        asked, answers = record.get(name), [in_text(record.get(answer)) for answer in self._answers]
        talks = [talk for talk in answers if isinstance(talk, list) and len(talk) > 1]
        if not (talks and isinstance(asked, str)) or in_text(asked) is not asked:
            return False
        said = [
            item.get("content", item.get("value"))
            for talk in talks
            for item in talk
            if isinstance(item, Mapping)
        ]
        return not any(asked.strip() in text for text in said if isinstance(text, str))

    def _rows(self, record: Record, where: str) -> list[Row]:
        better, worse = (cell(record, name, "--completion-column", where) for name in self._answers)
        asked = None if self._prompt is None else cell(record, self._prompt, "--prompt-column", where)
        refuse_late(record, self._late, self.unread, where)
        texts = [better, worse] if self._prompt is None else [asked, better, worse]
        if not self._chat and all(isinstance(text, str) for text in texts):
            return self._texts(record, asked, better, worse, where)
        refuse_beside(record, where)
        chosen, rejected = (
            text_or_messages(value, name, assistant, where, literal=name in self._literal)
            for name, value in zip(self._answers, (better, worse), strict=True)
        )
        prompt, chosen, rejected = self._parted(record, chosen, rejected, where)
        return self._both(prompt, chosen, rejected, where, read_tools(record, where))

    def _texts(self, record: Record, asked: Any, better: str, worse: str, where: str) -> list[Row]:
        refuse_late(record, ONLY_TALK, self.unread, where)
        refuse_media(record, where)
        if self._prompt is None:
            return self._both(*common_text(better, worse, self._answers, where), where)
        require_plain(asked, self._prompt, where)
        better, worse = (without_turns(answer, asked) for answer in (better, worse))
        for name, value in zip(self._answers, (better, worse), strict=True):
            require_text(value, f'"{name}"', where)
        return self._both(asked, better, worse, where)

    def _parted(
        self, record: Record, better: list[Message], worse: list[Message], where: str
    ) -> tuple[list[Message], list[Message], list[Message]]:
        """Prompt and both answers, where none, one or both of these hold the whole conversation."""
        whole = [is_whole(answer) for answer in (better, worse)]
        if self._prompt is not None and not any(whole):
            for answer, name in zip((better, worse), self._answers, strict=True):
                require_assistant(answer, name, where)
            return self._asked(record, where), better, worse
        if whole == [True, False]:
            prompt, better = beginning(better, worse, self._answers, where)
        elif whole == [False, True]:
            prompt, worse = beginning(worse, better, self._answers[::-1], where)
        else:
            prompt, better, worse = common_messages(better, worse, self._answers, where)
        if not self._named:
            return self._begun(record, prompt, where), better, worse
        (system, _), asked = split_system(prompt), self._asked(record, where)
        return asked if split_system(asked)[0] else [*system, *asked], better, worse

    def _asked(self, record: Record, where: str) -> list[Message]:
        assert self._prompt is not None
        prompt = instruction(record, self._prompt, where, join=self._join)
        if self._prompt in CHATS and prompt[-1]["role"] == "assistant":
            better, worse = self._answers
            raise UserError(
                f'{where}: the last message of "{self._prompt}" is of role "assistant"; expected the prompt'
                f' that "{better}" and "{worse}" answer'
            )
        return prompt

    def _begun(self, record: Record, prompt: list[Message], where: str) -> list[Message]:
        """The beginning of the conversation, with what may stand before it in columns of their own."""
        asked = None if self._prompt is None else from_text(record[self._prompt], self._prompt, where)
        if asked is not None and not isinstance(asked, str):
            prompt = self._extended(read_messages(asked, str(self._prompt), where), prompt, where)
        before = turns_before(record, where)
        system, said = split_system(prompt)
        if before and said[: len(before)] != before:
            prompt = [*system, *before, *said]
        return with_system(prompt, record, where)

    def _extended(self, asked: list[Message], prompt: list[Message], where: str) -> list[Message]:
        """The longer of both, if one is the end of the other: answers may repeat but the last question."""
        (outer, before), (inner, said) = split_system(asked), split_system(prompt)
        system = inner or outer
        if ends_with(before, said):
            return [*system, *before]
        if ends_with(said, before):
            return [*system, *said]
        better, worse = self._answers
        raise UserError(
            f'{where}: the conversation that "{better}" and "{worse}" begin with is not that of'
            f' "{self._prompt}"; expected the same messages, or the answers alone'
        )


class RejectedResponse(Pair):
    """ms-swift's: a conversation (or query and response) that is good, and what would have been worse."""

    def __init__(self, name: str, column: str, rejected: str, literal: frozenset[str] = frozenset()) -> None:
        good = ("query", "response") if column == "query" else (column,)
        super().__init__(name, (*good, rejected), (INPUT, *HISTORIES) if column == "query" else ())
        self._column, self._rejected, self._literal = column, rejected, literal

    def _rows(self, record: Record, where: str) -> list[Row]:
        prompt, better = self._good(record, where)
        value = cell(record, self._rejected, "--completion-column", where)
        literal = self._rejected in self._literal
        worse = text_or_messages(value, self._rejected, assistant, where, literal=literal)
        require_assistant(worse, self._rejected, where)
        if is_whole(worse):
            names = (self._column, self._rejected)
            (system, _), (other, said) = split_system(prompt), split_system(worse)
            worse = worse if other else [*system, *said]
            prompt, better, worse = common_messages([*prompt, *better], worse, names, where)
        refuse_beside(record, where)
        return self._both(prompt, better, worse, where, read_tools(record, where))

    def _good(self, record: Record, where: str) -> tuple[list[Message], list[Message]]:
        value = cell(record, self._column, "--prompt-column", where)
        if self._column != "query":
            prompt, answer = split_answer(read_messages(value, self._column, where), self._column, where)
            return with_system(prompt, record, where), answer
        prompt = instruction(record, "query", where)
        return _answered(prompt, record, "response", where, self._literal)


class OpenAIPreference(Pair):
    """OpenAI's preference fine-tuning: input.messages, preferred_output, non_preferred_output."""

    def __init__(self) -> None:
        super().__init__("OpenAI preference", ("input", "preferred_output", "non_preferred_output"))

    def _rows(self, record: Record, where: str) -> list[Row]:
        given = parsed(cell(record, "input", "--prompt-column", where))
        inner = given if isinstance(given, Mapping) else {"messages": given}
        value = cell(inner, "messages", "--prompt-column", where)
        prompt = text_or_messages(value, "input.messages", user, where)
        prompt = with_system(with_system(prompt, inner, where), record, where)
        answers = ("preferred_output", "non_preferred_output")
        better, worse = (_answered(prompt, record, name, where)[1] for name in answers)
        for holder in (inner, record):
            refuse_beside(holder, where)
        tools = read_tools(inner, where) or read_tools(record, where)
        return self._both(prompt, better, worse, where, tools)


class HalosPairwise(Pair):
    """HALOs' pairwise feedback: output_A is the better one where label is 1, output_B where it is 0."""

    def __init__(self, rating: str, literal: frozenset[str] = frozenset()) -> None:
        super().__init__("HALOs pairwise feedback", ("prompt", rating, "output_A", "output_B"))
        self._rating, self._literal = rating, literal

    def _rows(self, record: Record, where: str) -> list[Row]:
        value = cell(record, "prompt", "--prompt-column", where)
        prompt = with_system(text_or_messages(value, "prompt", user, where), record, where)
        better, worse = (
            _answered(prompt, record, name, where, self._literal)[1] for name in ("output_A", "output_B")
        )
        if not self._first_is_better(record, where):
            better, worse = worse, better
        refuse_beside(record, where)
        return self._both(prompt, better, worse, where, read_tools(record, where))

    def _first_is_better(self, record: Record, where: str) -> bool:
        """Which of two is no rating on a scale: --desirable-at-least says nothing of it."""
        value = cell(record, self._rating, "--label-column", where)
        label = parse_label(value)
        if label is None:
            raise UserError(
                f'{where}: "{self._rating}" is {shown(value)}; expected 1 where output_A is better,'
                " 0 where output_B is"
            )
        return label


def _answered(
    prompt: list[Message], record: Record, column: str, where: str, literal: frozenset[str] = frozenset()
) -> tuple[list[Message], list[Message]]:
    value = cell(record, column, "--completion-column", where)
    answer = text_or_messages(value, column, assistant, where, literal=column in literal)
    return answer_alone(prompt, answer, column, where)
