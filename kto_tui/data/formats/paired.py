"""A better and a worse answer a record: both become rows, the better one desirable."""

from collections.abc import Mapping, Sequence
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Format, Record, TiedError, cell, with_outer
from kto_tui.data.formats.checks import refuse_beside, require_assistant, require_text
from kto_tui.data.formats.messages import (
    assistant,
    from_text,
    read_messages,
    split_answer,
    text_or_messages,
    user,
    with_system,
)
from kto_tui.data.formats.names import BESIDE, CHATS, HISTORIES, JOINED, SYSTEMS
from kto_tui.data.formats.tools import Tool, parsed, read_tools
from kto_tui.data.formats.unpaired import INPUT, instruction, refuse_late
from kto_tui.data.labels import parse_label
from kto_tui.data.rows import Message, Row, Text
from kto_tui.data.wording import shown

TURN = "\n\nAssistant:"  # How Anthropic's HH files mark where the model speaks.


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
    """`chosen` and `rejected`, with a prompt in a column of its own or as their common beginning.

    All text stays text, as in TRL; with a system prompt, history or messages it becomes conversations.
    Where `chosen` holds the whole conversation, that wins over the prompt's column (UltraFeedback has both),
    but for a system prompt there, and not over a column that the user `named`. `late`: columns that would be
    part of the prompt, and that the first records have not.
    """

    def __init__(
        self,
        name: str,
        prompt: str | None,
        *,
        chat: bool = False,
        join: bool = False,
        named: bool = False,
        late: tuple[str, ...] = (),
    ) -> None:
        uses = ("chosen", "rejected") if prompt is None else (prompt, "chosen", "rejected")
        super().__init__(name, uses, (*HISTORIES, *((INPUT,) if join else ())))
        self._prompt, self._chat, self._join, self._named = prompt, chat, join, named
        self._late = late if join or prompt not in JOINED else (*late, INPUT)

    def _rows(self, record: Record, where: str) -> list[Row]:
        better, worse = (
            from_text(cell(record, name, "--completion-column", where), name, where)
            for name in ("chosen", "rejected")
        )
        refuse_late(record, self._late, where)
        asked = None
        if self._prompt is not None:
            asked = from_text(cell(record, self._prompt, "--prompt-column", where), self._prompt, where)
        if isinstance(better, str) and isinstance(worse, str) and isinstance(asked, (str, type(None))):
            if self._prompt is None:
                refuse_late(record, SYSTEMS, where)
                return self._both(*_common_text(better, worse, where), where)
            if not self._chat:
                return self._texts(record, asked, better, worse, where)
        refuse_beside(record, where)
        chosen, rejected = (_one_or_more(value, name, where) for name, value in _named(better, worse))
        if self._prompt is None or (len(chosen) > 1 and chosen[0]["role"] != "assistant"):
            prompt, chosen, rejected = _common_messages(chosen, rejected, where)
            prompt = self._asked(record, where) if self._named else self._begun(record, prompt, asked, where)
        else:
            prompt = self._asked(record, where)
            require_assistant(chosen, "chosen", where)
            require_assistant(rejected, "rejected", where)
        return self._both(prompt, chosen, rejected, where, read_tools(record, where))

    def _asked(self, record: Record, where: str) -> list[Message]:
        assert self._prompt is not None
        prompt = instruction(record, self._prompt, where, join=self._join)
        if self._prompt in CHATS and prompt[-1]["role"] == "assistant":
            raise UserError(
                f'{where}: the last message of "{self._prompt}" is of role "assistant"; expected the prompt'
                ' that "chosen" and "rejected" answer'
            )
        return prompt

    def _begun(self, record: Record, prompt: list[Message], asked: Any, where: str) -> list[Message]:
        """The common beginning, with the system prompt that the prompt's own column may have."""
        if self._prompt is not None and asked is not None and not isinstance(asked, str):
            first = read_messages(asked, self._prompt, where)[0]
            if first["role"] == "system" != prompt[0]["role"]:
                prompt = [first, *prompt]
        return with_system(prompt, record, where)

    def _texts(self, record: Record, asked: Any, better: str, worse: str, where: str) -> list[Row]:
        refuse_late(record, (*SYSTEMS, *HISTORIES), where)
        for name, value in ((self._prompt, asked), *_named(better, worse)):
            if not isinstance(value, str):
                raise UserError(f'{where}: "{name}" is {shown(value)}; expected text')
            require_text(value, f'"{name}"', where)
        return self._both(asked, better, worse, where)


class RejectedResponse(Pair):
    """ms-swift's: a conversation (or query and response) that is good, and what would have been worse."""

    def __init__(self, name: str, column: str, rejected: str) -> None:
        good = ("query", "response") if column == "query" else (column,)
        super().__init__(name, (*good, rejected), (INPUT, *HISTORIES) if column == "query" else ())
        self._column, self._rejected = column, rejected

    def _rows(self, record: Record, where: str) -> list[Row]:
        prompt, better = self._good(record, where)
        value = cell(record, self._rejected, "--completion-column", where)
        worse = text_or_messages(value, self._rejected, assistant, where)[-1:]
        require_assistant(worse, self._rejected, where)
        refuse_beside(record, where)
        return self._both(prompt, better, worse, where, read_tools(record, where))

    def _good(self, record: Record, where: str) -> tuple[list[Message], list[Message]]:
        value = cell(record, self._column, "--prompt-column", where)
        if self._column != "query":
            prompt, answer = split_answer(read_messages(value, self._column, where), self._column, where)
            return with_system(prompt, record, where), answer
        response = cell(record, "response", "--completion-column", where)
        return instruction(record, "query", where), text_or_messages(response, "response", assistant, where)


class OpenAIPreference(Pair):
    """OpenAI's preference fine-tuning: input.messages, preferred_output, non_preferred_output."""

    def __init__(self) -> None:
        super().__init__("OpenAI preference", ("input", "preferred_output", "non_preferred_output"))

    def _rows(self, record: Record, where: str) -> list[Row]:
        given = parsed(cell(record, "input", "--prompt-column", where))
        inner = given if isinstance(given, Mapping) else {"messages": given}
        value = cell(inner, "messages", "--prompt-column", where)
        prompt = text_or_messages(value, "input.messages", user, where)
        better, worse = (
            _answer(record, name, where) for name in ("preferred_output", "non_preferred_output")
        )
        prompt = with_system(with_system(prompt, inner, where), record, where)
        tools = read_tools(inner, where) or read_tools(record, where)
        return self._both(prompt, better, worse, where, tools)


class HalosPairwise(Pair):
    """HALOs' pairwise feedback: output_A is the better one where label is 1, output_B where it is 0."""

    def __init__(self, rating: str) -> None:
        super().__init__("HALOs pairwise feedback", ("prompt", rating, "output_A", "output_B"))
        self._rating = rating

    def _rows(self, record: Record, where: str) -> list[Row]:
        value = cell(record, "prompt", "--prompt-column", where)
        prompt = text_or_messages(value, "prompt", user, where)
        better, worse = (_answer(record, name, where) for name in ("output_A", "output_B"))
        if not self._first_is_better(record, where):
            better, worse = worse, better
        prompt = with_system(prompt, record, where)
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


def _answer(record: Record, column: str, where: str) -> list[Message]:
    value = cell(record, column, "--completion-column", where)
    answer = text_or_messages(value, column, assistant, where)
    require_assistant(answer, column, where)
    return answer


def _named(better: Any, worse: Any) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return ("chosen", better), ("rejected", worse)


def _one_or_more(value: Any, column: str, where: str) -> list[Message]:
    """LLaMA-Factory has a single message, without the list."""
    single = isinstance(value, Mapping) and not any(isinstance(item, list) for item in value.values())
    return text_or_messages([value] if single else value, column, assistant, where)


def _common_text(better: str, worse: str, where: str) -> tuple[str, str, str]:
    """Prompt and both answers. The answers begin at the spaces before the first word that differs.

    Other white space stays with the prompt, as TRL's extract_prompt has it.
    """
    if better == worse:
        raise TiedError(f"{where}: the better and the worse answer are the same")
    common = better[: _alike(better, worse)]
    turn = common.rfind(TURN)
    if turn >= 0:
        end = turn + len(TURN)
    else:
        end = len(common)
        while end and not common[end - 1].isspace():
            end -= 1
        while end and common[end - 1] == " ":
            end -= 1
    prompt, chosen, rejected = better[:end], better[end:], worse[end:]
    if not prompt.strip():
        raise UserError(
            f'{where}: "chosen" and "rejected" do not begin alike, and there is no prompt;'
            " expected their common beginning (choose a column with --prompt-column)"
        )
    for name, value in (("the prompt of both answers", prompt), *_named(chosen, rejected)):
        require_text(value, name if value is prompt else f'the answer in "{name}"', where)
    return prompt, chosen, rejected


def _common_messages(
    better: list[Message], worse: list[Message], where: str
) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt and both answers: the prompt is what both begin with, but for the last messages."""
    if better == worse:
        raise TiedError(f"{where}: the better and the worse answer are the same")
    length = _alike(better[:-1], worse[:-1])
    if not length:
        raise UserError(
            f'{where}: "chosen" and "rejected" do not begin alike, and there is no prompt;'
            " expected the same messages first (choose a column with --prompt-column)"
        )
    chosen, rejected = better[length:], worse[length:]
    require_assistant(chosen, "chosen", where)
    require_assistant(rejected, "rejected", where)
    for part, messages in (
        ("prompt", better[:length]),
        ("chosen answer", chosen),
        ("rejected answer", rejected),
    ):
        require_text(messages, f"the {part}", where)
    return better[:length], chosen, rejected


def _alike(left: Sequence[Any], right: Sequence[Any]) -> int:
    """How many items both begin with. Halving, since long texts are compared fastest as a whole."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[low:middle] == right[low:middle] else (low, middle - 1)
    return low
