"""What the exports of rating tools share: which fields are prompt and answer, and which rating counts."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import MISSING, Record, look_up, unread
from kto_tui.data.formats.before import exchange, put_before
from kto_tui.data.formats.looking import literal_text
from kto_tui.data.formats.messages import Texts, read_messages, split_answer
from kto_tui.data.formats.names import (
    ANSWERS,
    CHATS,
    HISTORIES,
    JOINED,
    MEDIA,
    PROMPTS,
    RATINGS,
    SYSTEMS,
    TEMPLATE_OPTIONS,
)
from kto_tui.data.rows import Columns, Message
from kto_tui.data.wording import listed


def chosen_rating(
    names: Iterable[str], columns: Columns, source: str, *, any_name: bool = True
) -> str | None:
    """Which of several ratings counts: the user's, the only one, or the only one of a usual name.

    The user's may be meant for another data set: where it is not among them, the only one counts.

    Without `any_name` the only one has to be of a usual name too: scores of traces may be of anything.
    None if there are no ratings among the first records. Raises UserError if it cannot be told.
    """
    found = list(dict.fromkeys(names))
    if columns.label in found or (columns.names_label and not found):
        return columns.label
    usual = [name for name in RATINGS if name in found]
    own = usual or (found if any_name else [])
    if len(own) == 1:
        return own[0]
    if columns.names_label:
        return columns.label  # It may be meant for another data set, and what is here cannot be told.
    if not found:
        return None
    if len(found) == 1:
        raise UserError(
            f"{source}: found the rating {listed(found)} alone, which may be of anything; say that it is of"
            f" the answer with --label-column {listed(found)}"
        )
    raise UserError(f"{source}: found the ratings {listed(found)}; choose one with --label-column")


@dataclass(frozen=True)
class Exchange:
    """Where in the fields of a record prompt and answer stand; without `answer`, the chat's last message.

    Text of a `literal` answer is never messages.
    """

    prompt: str
    answer: str | None
    literal: bool = False

    @classmethod
    def among(cls, fields: Iterable[str], columns: Columns, source: str) -> "Exchange":
        """By the user's names, or the usual ones. Raises UserError that lists the fields."""
        names = list(dict.fromkeys(fields))
        prompt = _one(names, columns.prompt, (columns.prompt, *PROMPTS), columns.prompt != "prompt")
        given = columns.completion != "completion"
        answer = _one(names, columns.completion, (columns.completion, *ANSWERS), given)
        chat = next((name for name in CHATS if name in names), None)
        if prompt and answer:
            return cls(prompt, answer)
        if chat and not (columns.prompt != "prompt" and columns.prompt in names):
            return cls(chat, answer)
        missing = "--prompt-column" if answer else "--completion-column"
        what = "prompt" if answer else "answer"
        raise UserError(f"{source}: found the fields {listed(names)}; choose the {what} with {missing}")

    def settled(self, records: Iterable[Record], source: str) -> "Exchange":
        """The same, with the answers of the first records looked at."""
        if self.answer is None:
            return self
        values = [look_up(record, self.answer) for record in records]
        return replace(self, literal=literal_text(values, self.answer, source))

    @property
    def uses(self) -> tuple[str, ...]:
        """The fields that are read."""
        return (self.prompt,) if self.answer is None else (self.prompt, self.answer)

    @property
    def beside(self) -> tuple[str, ...]:
        """The fields that belong to the prompt, or are refused, where they are there."""
        given = ("input",) if self.prompt in JOINED and self.answer != "input" else ()
        return (*SYSTEMS, *HISTORIES, *MEDIA, "tools", TEMPLATE_OPTIONS, *given)

    def unread(self, records: Iterable[Record], but: Iterable[str] = ()) -> tuple[str, ...]:
        """The fields that hold something and are not read."""
        return unread(records, {*self.uses, *self.beside, *but})

    def read(self, fields: Record, where: str) -> tuple[list[Message], list[Message]]:
        """Prompt and answer as messages, with all that belongs to the prompt."""
        value = self._value(fields, self.prompt, "--prompt-column", where)
        if self.answer is None:
            prompt, answer = split_answer(read_messages(value, self.prompt, where), self.prompt, where)
            return put_before(prompt, fields, where), answer
        self._value(fields, self.answer, "--completion-column", where)
        answers = frozenset((self.answer,))
        texts = Texts(literal=answers) if self.literal else Texts(chats=answers)
        return exchange(fields, self.prompt, self.answer, where, texts=texts)

    @staticmethod
    def _value(fields: Record, name: str, option: str, where: str) -> Any:
        value = look_up(fields, name)
        if value is MISSING:
            raise UserError(f'{where}: no field "{name}"; found {listed(fields)} (choose one with {option})')
        return value


def _one(names: list[str], given: str, usual: tuple[str, ...], chosen: bool) -> str | None:
    return given if chosen else next((name for name in usual if name in names), None)
