"""The first records of a source, and what their columns hold."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import MISSING, Format, Record, look_up, unread
from kto_tui.data.formats.blocks import is_item
from kto_tui.data.formats.messages import in_text, is_filled, looks_like_messages
from kto_tui.data.formats.names import (
    ANSWERS,
    BETTER,
    CHATS,
    HISTORIES,
    JOINED,
    MESSAGE_KEYS,
    PROMPTS,
    RATINGS,
    SYSTEMS,
)
from kto_tui.data.formats.ratings import Judge, distinct
from kto_tui.data.formats.unpaired import BESIDE_PROMPTS, INPUT
from kto_tui.data.rows import Columns
from kto_tui.data.wording import listed


class Look:
    """The first records, and the questions that recognizing asks of them."""

    def __init__(self, records: Sequence[Record], columns: Columns, source: str) -> None:
        self.records, self.columns, self.source = records, columns, source
        self.names = dict.fromkeys(name for record in records for name in record)

    def has(self, *names: str) -> bool:
        return all(
            name in self.names or any(look_up(record, name) is not MISSING for record in self.records)
            for name in names
        )

    def unread(self, known: Format) -> tuple[str, ...]:
        """Columns, and keys of messages (as messages[].KEY), that hold something the format does not read."""
        columns = unread(self.records, (known.columns or frozenset()) - known.left)
        keys = dict.fromkeys(
            f"{column}[].{key}"
            for column in known.uses
            for value in self.values(column)
            if isinstance(messages := in_text(value), list)
            for message in messages
            if isinstance(message, Mapping) and not is_item(message)
            for key, item in message.items()
            if isinstance(item, str) and item and key not in MESSAGE_KEYS
        )
        return (*columns, *known.passed_over(self.records), *self._overruled(known), *keys)

    def _overruled(self, known: Format) -> tuple[str, ...]:
        """Columns of a system prompt beside messages that begin with another one, which counts."""
        found = [
            name
            for name in SYSTEMS
            for record in self.records
            if isinstance(given := record.get(name), str) and is_filled(given)
            for column in known.uses
            if _system_in(record.get(column)) not in (None, given)
        ]
        return tuple(dict.fromkeys(found))

    def has_any(self, names: Iterable[str]) -> bool:
        return self.first(names) is not None

    def first(self, names: Iterable[str]) -> str | None:
        return next((name for name in names if name in self.names), None)

    def values(self, name: str) -> list[Any]:
        return [value for record in self.records if (value := look_up(record, name)) is not MISSING]

    def holds(self, name: str, *kinds: type) -> bool:
        """Whether a value is of the kind; messages in JSON text are a list."""
        return any(isinstance(in_text(value), kinds) for value in self.values(name))

    def filled(self, *names: str) -> bool:
        return any(is_filled(record.get(name)) for record in self.records for name in names)

    def literal(self, *names: str) -> frozenset[str]:
        """Of the columns of answers, those whose text is never messages."""
        return frozenset(name for name in names if literal_text(self.values(name), name, self.source))

    def answers_talk(self, *names: str) -> bool:
        """Whether answers are messages, as such or in JSON text."""
        literal = self.literal(*names)
        return any(
            isinstance(value, (list, dict))
            or (isinstance(value, str) and name not in literal and looks_like_messages(value))
            for name in names
            for value in self.values(name)
        )

    def beside(self, *named: str) -> bool:
        """Whether there are columns for a system prompt or earlier turns, also empty ones."""
        return self.has_any(name for name in BESIDE_PROMPTS if name not in named)

    @property
    def talk(self) -> str | None:
        """The column of the conversation: one that holds messages, or else one of a name that is for them.

        By its name alone it does not count beside question and answer: there it may be a number of theirs.
        """
        holding = next((name for name in CHATS if name in self.names and self.holds(name, list, dict)), None)
        apart = self.has_any(PROMPTS) and self.has_any((*ANSWERS, *BETTER))
        return holding or (None if apart else self.first(CHATS[:3]))

    def joins(self, prompt: str) -> bool:
        """Whether `input` belongs to the prompt of that column, which does not hold it already."""
        if prompt == INPUT or self.columns.completion == INPUT or not self.has(INPUT):
            return False
        if prompt in JOINED:
            return True  # Also where the first ones are empty, as most are in alpaca files.
        if not self.filled(INPUT):
            return False
        both = [(record.get(prompt), record[INPUT]) for record in self.records if record.get(INPUT)]
        held = [given in asked for asked, given in both if isinstance(asked, str) and isinstance(given, str)]
        return prompt == "prompt" and len(held) == len(both) and not all(held)

    def only_asks(self, column: str) -> bool:
        """Whether all conversations in the column end with what the user says: the answer is elsewhere."""
        talks = [talk for value in self.values(column) if isinstance(talk := in_text(value), list) and talk]
        last = [talk[-1] for talk in talks]
        return bool(last) and all(
            isinstance(item, Mapping) and item.get("role", item.get("from")) in ("user", "human")
            for item in last
        )

    def may_join(self, prompt: str) -> bool:
        """Whether an `input` would belong to the prompt, also one that only later rows have."""
        return self.joins(prompt) or (prompt in JOINED and self.columns.completion != INPUT)

    def filled_history(self, prompt: str) -> bool:
        return self.filled(*(name for name in HISTORIES if name != prompt))

    @property
    def rating(self) -> str | None:
        """The column of the rating: the one named, or the only one of a usual name.

        That also where the one named is not there: it may be meant for another data set of a mixture.
        """
        if self.has(self.columns.label):
            return self.columns.label
        usual = [name for name in RATINGS if name in self.names]
        if self.columns.names_label and len(usual) != 1 and "kto_tag" not in usual:
            return self.columns.label
        if len(usual) > 1 and "kto_tag" not in usual:
            raise UserError(
                f"{self.source}: found the ratings {listed(usual)}; choose one with --label-column"
            )
        return "kto_tag" if "kto_tag" in usual else (usual[0] if usual else None)

    def judge(self, rating: str) -> Judge:
        return Judge.of(self.columns, rating, distinct(self.values(rating)), self.source)

    def named(self, name: str, rating: str) -> str:
        return name if rating in ("label", "kto_tag") else f"{name}, rated by {rating}"


def _system_in(value: Any) -> Any:
    """The system prompt that messages in a column begin with."""
    talk = in_text(value)
    first = talk[0] if isinstance(talk, list) and talk else None
    if not isinstance(first, Mapping) or first.get("role", first.get("from")) != "system":
        return None
    return first.get("content", first.get("value"))


def literal_text(values: Iterable[Any], column: str, source: str) -> bool:
    """Whether text in a column of answers is text, also where it could be messages in JSON.

    Told from all values together, since one JSON answer by chance may look like a chat. Raises UserError if
    most do, but not all.
    """
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    chats = sum(map(looks_like_messages, texts))
    if chats == len(texts):
        return False
    if 2 * chats >= len(texts):
        raise UserError(
            f'{source}: "{column}" holds messages as JSON text in {chats} of the first {len(texts)} rows, and'
            " other text in the rest; write all of them as messages, or none"
        )
    return True
