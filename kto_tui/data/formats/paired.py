"""A better and a worse answer a record: both become rows, the better one desirable."""

from collections.abc import Iterable, Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import MISSING, Format, Record, TiedError, cell, look_up, parsed, with_outer
from kto_tui.data.formats.before import INPUT, answered, asked, put_before, refuse_answered
from kto_tui.data.formats.checks import refuse_beside, require_assistant, require_text
from kto_tui.data.formats.late import (
    TEXT_ALONE,
    WHOLE_TALK,
    knows,
    late_input,
    refuse_media,
    refuse_talk,
    require_plain,
)
from kto_tui.data.formats.messages import (
    Texts,
    answer_alone,
    assistant,
    from_text,
    in_text,
    read_messages,
    split_answer,
    split_system,
    text_or_messages,
    user,
    with_system,
)
from kto_tui.data.formats.names import BESIDE, HISTORIES, PROMPTS
from kto_tui.data.formats.parting import (
    beginning,
    common_messages,
    common_text,
    is_whole,
    longer,
    require_held,
    stands_in,
    without_turns,
)
from kto_tui.data.formats.tools import Tool, read_tools
from kto_tui.data.labels import parse_label
from kto_tui.data.rows import Message, Row, Text
from kto_tui.data.wording import shown


class Pair(Format):
    """Base of the formats with two answers."""

    def __init__(
        self,
        name: str,
        uses: tuple[str, ...],
        also: tuple[str, ...] = (),
        late: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, with_outer((*uses, *also)) | BESIDE, uses, late)
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
    turns there, and not over a column that the user `named`.
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
        late: Mapping[str, str] | None = None,
        texts: Texts | None = None,
    ) -> None:
        uses = answers if prompt is None else (prompt, *answers)
        text = {} if chat else TEXT_ALONE
        late = late or ({} if prompt is None else late_input(prompt, join=join))
        super().__init__(name, uses, (*HISTORIES, *((INPUT,) if join else ())), {**text, **late})
        self._prompt, self._answers, self._chat, self._join, self._named = prompt, answers, chat, join, named
        self._texts = texts or Texts()

    def passed_over(self, records: Iterable[Record]) -> tuple[str, ...]:
        """The columns of the prompt whose text is not in the conversations that the answers hold."""
        names = self._beside_whole()
        return tuple(name for name in names if any(self._is_elsewhere(record, name) for record in records))

    def _beside_whole(self) -> tuple[str, ...]:
        if self._named or self._prompt is None:
            return ()
        return (self._prompt, INPUT) if self._join else (self._prompt,)

    def _is_elsewhere(self, record: Record, name: str) -> bool:
        return self._is_held(record, name) is False

    def _is_held(self, record: Record, name: str) -> bool | None:
        """Whether the conversations hold that text; None where there is no text, or no conversation."""
        given, answers = record.get(name), [in_text(record.get(answer)) for answer in self._answers]
        talks = [talk for talk in answers if isinstance(talk, list) and len(talk) > 1]
        if not (talks and isinstance(given, str)) or in_text(given) is not given:
            return None
        return stands_in(given, [item for talk in talks for item in talk])

    def _knows(self, name: str, record: Record) -> bool:
        if name in PROMPTS and self._is_held(record, name):
            return True
        return knows(self, name, record, self._prompt)

    def _rows(self, record: Record, where: str) -> list[Row]:
        better, worse = (cell(record, name, "--completion-column", where) for name in self._answers)
        if not self._chat:
            given = None if self._prompt is None else look_up(record, self._prompt)
            if all(isinstance(text, str) for text in (better, worse, "" if self._prompt is None else given)):
                return self._text_rows(record, given, better, worse, where)
            refuse_talk(record, self.uses, where)
        refuse_beside(record, where)
        chosen, rejected = (
            self._texts.messages(value, name, assistant, where)
            for name, value in zip(self._answers, (better, worse), strict=True)
        )
        prompt, chosen, rejected = self._parted(record, chosen, rejected, where)
        return self._both(prompt, chosen, rejected, where, read_tools(record, where))

    def _text_rows(self, record: Record, given: Any, better: str, worse: str, where: str) -> list[Row]:
        refuse_media(record, where)
        if self._prompt is None:
            return self._both(*common_text(better, worse, self._answers, where), where)
        require_plain(given, self._prompt, where)
        better, worse = (without_turns(answer, given) for answer in (better, worse))
        for name, value in zip(self._answers, (better, worse), strict=True):
            require_text(value, f'"{name}"', where)
        return self._both(given, better, worse, where)

    def _parted(
        self, record: Record, better: list[Message], worse: list[Message], where: str
    ) -> tuple[list[Message], list[Message], list[Message]]:
        """Prompt and both answers, where none, one or both of these hold the whole conversation."""
        whole = [is_whole(answer) for answer in (better, worse)]
        if self._prompt is not None and not any(whole):
            for answer, name in zip((better, worse), self._answers, strict=True):
                require_assistant(answer, name, where)
            prompt = self._asked(record, where)
            better, worse = (
                answer_alone(prompt, answer, name, where)[1]
                for answer, name in zip((better, worse), self._answers, strict=True)
            )
            return prompt, better, worse
        if whole == [True, False]:
            prompt, better = beginning(better, worse, self._answers, where)
        elif whole == [False, True]:
            prompt, worse = beginning(worse, better, self._answers[::-1], where)
        else:
            prompt, better, worse = common_messages(better, worse, self._answers, where)
        if not self._named:
            self._require_one_prompt(record, [*prompt, *better, *worse], where, both=all(whole))
            return self._begun(record, prompt, where), better, worse
        (system, _), given = split_system(prompt), self._asked(record, where)
        own, _ = split_system(given)
        if system and own and system != own:
            raise UserError(
                f'{where}: the conversations begin with another system prompt than "{self._prompt}", and one'
                " of them is read; leave one out, or write them as one"
            )
        return given if own else [*system, *given], better, worse

    def _asked(self, record: Record, where: str) -> list[Message]:
        assert self._prompt is not None
        return asked(record, self._prompt, self._answers, where, join=self._join, texts=self._texts)

    def _require_one_prompt(self, record: Record, said: list[Message], where: str, *, both: bool) -> None:
        """Refuse a prompt in a column that is not in the conversation, which wins over it.

        Where both answers hold that and the first rows have another prompt, too, people know of it.
        """
        for name in self._beside_whole():
            given = in_text(look_up(record, name))
            if isinstance(given, str) and not (both and name in self.unread):
                require_held(given, said, name, where)

    def _begun(self, record: Record, prompt: list[Message], where: str) -> list[Message]:
        """The beginning of the conversation, with what may stand before it in columns of their own."""
        value = MISSING if self._prompt is None else look_up(record, self._prompt)
        given = None if value is MISSING else from_text(value, str(self._prompt), where)
        if given is not None and not isinstance(given, str):
            messages = read_messages(given, str(self._prompt), where)
            prompt = longer(messages, prompt, str(self._prompt), self._answers, where)
        return put_before(prompt, record, where)


class RejectedResponse(Pair):
    """ms-swift's: a conversation (or query and response) that is good, and what would have been worse."""

    def __init__(self, name: str, column: str, rejected: str, texts: Texts) -> None:
        asks = column == "query"
        good = (column, "response") if asks else (column,)
        also = (INPUT, *HISTORIES) if asks else ()
        super().__init__(name, (*good, rejected), also, {} if asks else WHOLE_TALK)
        self._column, self._rejected, self._texts = column, rejected, texts

    def _rows(self, record: Record, where: str) -> list[Row]:
        prompt, better = self._good(record, where)
        value = cell(record, self._rejected, "--completion-column", where)
        worse = self._texts.messages(value, self._rejected, assistant, where)
        require_assistant(worse, self._rejected, where)
        if is_whole(worse):
            names = (self._column, self._rejected)
            (system, _), (other, said) = split_system(prompt), split_system(worse)
            worse = worse if other else [*system, *said]
            prompt, better, worse = common_messages([*prompt, *better], worse, names, where)
        refuse_beside(record, where)
        return self._both(prompt, better, worse, where, read_tools(record, where))

    def _good(self, record: Record, where: str) -> tuple[list[Message], list[Message]]:
        if self._column == "query":
            prompt = asked(record, "query", ("response", self._rejected), where, texts=self._texts)
            return answered(prompt, record, "response", where, self._texts)
        value = cell(record, self._column, "--prompt-column", where)
        prompt, answer = split_answer(read_messages(value, self._column, where), self._column, where)
        return with_system(prompt, record, where), answer


class OpenAIPreference(Pair):
    """OpenAI's preference fine-tuning: input.messages, preferred_output, non_preferred_output."""

    answers = ("preferred_output", "non_preferred_output")

    def __init__(self, texts: Texts | None = None) -> None:
        super().__init__("OpenAI preference", ("input", *self.answers), late=WHOLE_TALK)
        self._texts = texts or Texts()

    def _rows(self, record: Record, where: str) -> list[Row]:
        given = parsed(cell(record, "input", "--prompt-column", where))
        inner = given if isinstance(given, Mapping) else {"messages": given}
        value = cell(inner, "messages", "--prompt-column", where)
        prompt = text_or_messages(value, "input.messages", user, where)
        refuse_answered(prompt, "input.messages", self.answers, where)
        prompt = with_system(with_system(prompt, inner, where), record, where)
        better, worse = (answered(prompt, record, name, where, self._texts)[1] for name in self.answers)
        for holder in (inner, record):
            refuse_beside(holder, where)
        tools, others = read_tools(inner, where), read_tools(record, where)
        if tools and others and tools != others:
            raise UserError(f'{where}: "tools" and the tools of "input" are different; leave one out')
        return self._both(prompt, better, worse, where, tools or others)


class HalosPairwise(Pair):
    """HALOs' pairwise feedback: output_A is the better one where label is 1, output_B where it is 0."""

    answers = ("output_A", "output_B")

    def __init__(self, rating: str, texts: Texts) -> None:
        super().__init__("HALOs pairwise feedback", ("prompt", rating, *self.answers), HISTORIES)
        self._rating, self._texts = rating, texts

    def _rows(self, record: Record, where: str) -> list[Row]:
        prompt = asked(record, "prompt", self.answers, where, texts=self._texts)
        better, worse = (answered(prompt, record, name, where, self._texts)[1] for name in self.answers)
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
