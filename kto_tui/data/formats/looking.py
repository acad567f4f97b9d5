"""The first records of a source, and what their columns hold."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kto_tui.core.errors import UserError, printable
from kto_tui.data.formats.base import (
    EMPTY_AT_FIRST,
    MISSING,
    Format,
    Record,
    is_filled,
    look_up,
    parsed,
    unread,
)
from kto_tui.data.formats.before import BESIDE_PROMPTS, INPUT, holds_input
from kto_tui.data.formats.blocks import is_item
from kto_tui.data.formats.messages import Texts, assistant, in_text, looks_like_messages
from kto_tui.data.formats.names import (
    ANSWERS,
    BETTER,
    CHATS,
    FUNCTIONS,
    HISTORIES,
    JOINED,
    MARKS,
    MESSAGE_KEYS,
    PAIRS,
    PROMPTS,
    RATINGS,
    SPOKEN,
)
from kto_tui.data.formats.ratings import Judge, distinct
from kto_tui.data.formats.tools import are_tools
from kto_tui.data.rows import CONVERSATION, Columns
from kto_tui.data.wording import listed

_OF_TEXT = (*SPOKEN, *MARKS, "refusal")
REJECTED = ("rejected_response", "rejected_messages")
_TWO = (*REJECTED, *(name for pair in PAIRS for name in pair))


class Look:
    """The first records, and the questions that recognizing asks of them.

    `present` are all columns, `names` those that say something of the format: the ones that the user named,
    and those filled in at `least` so many records. Tables made of several have columns that are empty, or
    filled in an odd row.
    """

    def __init__(self, records: Sequence[Record], columns: Columns, source: str, least: int = 1) -> None:
        self.records, self.columns, self.source, self.least = records, columns, source, least
        self.present = dict.fromkeys(name for record in records for name in record)
        self.names = {name: None for name in self.present if self._counts(name, least)}
        if self.filled(INPUT):
            self.names |= dict.fromkeys(self._asked_of_input())

    def _counts(self, name: str, least: int) -> bool:
        """Whether the column says something; one rating is enough: exports begin with records without."""
        named = any(name == given != usual for _, given, usual in self.columns.options())
        return named or self._count(name) >= (min(least, 1) if name in RATINGS else least)

    def _asked_of_input(self) -> list[str]:
        """The columns for what is asked of an input, where most rows ask nothing."""
        there = [name for name in ("prompt", *JOINED) if name in self.present]
        if any(name in self.names for name in there):
            return []
        return [name for name in there if self.filled(name)] or there

    def _count(self, name: str) -> int:
        """In how many records it is filled. An answer, or a question, may be the text "[]"."""
        values = [record.get(name) for record in self.records]
        if name in (*PROMPTS, *ANSWERS):
            return sum(bool(v.strip()) if isinstance(v, str) else is_filled(v) for v in values)
        return sum(map(is_filled, values))

    def has(self, *names: str) -> bool:
        return all(
            name in self.names or ("." in name and any(map(is_filled, self.values(name)))) for name in names
        )

    def is_there(self, name: str) -> bool:
        """Whether there is such a column, also an empty one."""
        return name in self.present or any(look_up(record, name) is not MISSING for record in self.records)

    def watched(self, known: Format) -> dict[str, str]:
        """The columns that could have counted, and that no record fills."""
        rating = self.rating if self.rating in known.uses else None
        names = _TWO if self.columns.names_answer else (*CHATS, *PROMPTS, *ANSWERS, *_TWO)
        late = dict.fromkeys(names, EMPTY_AT_FIRST)
        if rating:
            why = f"{EMPTY_AT_FIRST}, or choose the rating with --label-column {printable(rating)}"
            late |= dict.fromkeys(self._other_ratings(rating), why)
        read = {*known.uses, *(known.columns or ())}
        return {name: why for name, why in late.items() if name not in read and not self.filled(name)}

    def had(self, name: str) -> "Look":
        """What would have been seen, had all records something in that column."""
        value = [assistant("x")] if name in CHATS else "x"
        records = [{**record, name: value} for record in self.records]
        return Look(records, self.columns, self.source, self.least)

    def _other_ratings(self, rating: str) -> tuple[str, ...]:
        if self.columns.names_label or rating == "label":
            return ()
        return ("label",) if rating == "kto_tag" else RATINGS

    def unread(self, known: Format) -> tuple[str, ...]:
        """Columns, and keys of messages (as messages[].KEY), that hold something the format does not read."""
        read = (known.columns or frozenset()) - known.late.keys()
        columns = unread(self.records, read if self._calls(FUNCTIONS) else read - {FUNCTIONS})
        keys = dict.fromkeys(
            f"{column}[].{key}"
            for column in known.uses
            for value in self.values(column)
            for message in _messages_in(value)
            for key in _unread_keys(message)
        )
        return (*columns, *known.passed_over(self.records), *keys)

    def has_any(self, names: Iterable[str]) -> bool:
        return self.first(names) is not None

    def first(self, names: Iterable[str]) -> str | None:
        return next((name for name in names if name in self.names), None)

    def values(self, name: str) -> list[Any]:
        return [value for record in self.records if (value := look_up(record, name)) is not MISSING]

    def holds(self, name: str, *kinds: type) -> bool:
        """Whether a value is of the kind; messages in JSON text are a list."""
        return any(is_filled(value) and isinstance(in_text(value), kinds) for value in self.values(name))

    def filled(self, *names: str) -> bool:
        return any(is_filled(record.get(name)) for record in self.records for name in names)

    def texts(self, prompt: str | None, *answers: str) -> Texts:
        """How text in those columns is taken; see literal_text."""
        literal = frozenset(name for name in answers if literal_text(self.values(name), name, self.source))
        chats = frozenset(answers) - literal
        return Texts(literal, chats if prompt is None or not self._asks_in_json(prompt) else chats | {prompt})

    def _asks_in_json(self, prompt: str) -> bool:
        """Whether at least half of the prompts are messages in JSON, also with roles that nobody knows."""
        texts = [value for value in self.values(prompt) if isinstance(value, str) and is_filled(value)]
        chats = sum(in_text(text, alone="user", any_role=True) is not text for text in texts)
        return bool(texts) and 2 * chats >= len(texts)

    def talks(self, texts: Texts, prompt: str | None, *answers: str) -> bool:
        """Whether prompt or answers of most rows are messages, as such or in JSON text.

        One such row among those of text is an odd one, and does not change what the others mean.
        """
        names = answers if prompt is None else (prompt, *answers)
        chats = alone = 0
        for record in self.records:
            row = [(name, look_up(record, name)) for name in names]
            if any(_is_chat(v, name, texts, "user" if name == prompt else "assistant") for name, v in row):
                chats += 1
            elif any(isinstance(value, str) and is_filled(value) for _, value in row):
                alone += 1
        return chats > 0 and chats >= alone

    def beside(self, *named: str) -> bool:
        """Whether there are columns for a system prompt or earlier turns, also empty ones, or any tools."""
        return self._calls("tools", FUNCTIONS) or any(
            name in self.present for name in BESIDE_PROMPTS if name not in named
        )

    def _calls(self, *names: str) -> bool:
        """Whether there are tools in one of the columns, and not something else under their name."""
        return any(are_tools(value) for name in names for value in self.values(name))

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
        if prompt == INPUT or self.columns.completion == INPUT or INPUT not in self.present:
            return False
        if prompt in JOINED:
            return True  # Also where the first ones are empty, as most are in alpaca files.
        filled = [record for record in self.records if is_filled(record.get(INPUT))]
        # None asks as little as "".
        both = [(in_text(record.get(prompt)) or "", record[INPUT]) for record in filled]
        are_text = all(isinstance(value, str) for pair in both for value in pair)
        return prompt == "prompt" and are_text and not all(holds_input(*pair) for pair in both)

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


def _messages_in(value: Any) -> Iterable[Mapping[str, Any]]:
    """The messages in a column, also those that OpenAI has one level deeper."""
    found = in_text(value)
    if isinstance(found := parsed(found), Mapping):
        found = found.get(CONVERSATION)
    for item in found if isinstance(found, list) else ():
        if isinstance(item, Mapping) and not is_item(item):
            yield item


def _unread_keys(message: Mapping[str, Any]) -> Iterable[str]:
    """What a message holds and no template is given: other keys, and what should be text and is not."""
    if isinstance(message.get("kwargs"), Mapping):
        message = message["kwargs"]
    for key, item in message.items():
        if is_filled(item) and (key not in MESSAGE_KEYS or (key in _OF_TEXT and not isinstance(item, str))):
            yield key


def _is_chat(value: Any, name: str, texts: Texts, role: str) -> bool:
    """Whether it is messages; also one alone of that role, in JSON text of a column of messages."""
    if isinstance(value, str):
        alone = role if name in texts.chats else ""
        return name not in texts.literal and looks_like_messages(value, alone)
    return isinstance(value, (list, dict)) and is_filled(value)


def literal_text(values: Iterable[Any], column: str, source: str) -> bool:
    """Whether text in a column of answers is text, also where it could be messages in JSON.

    Told from all values together, since one JSON answer by chance may look like a chat. Raises UserError if
    most do, but not all.
    """
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    chats = sum(looks_like_messages(text, "assistant") for text in texts)
    if chats == len(texts):
        return False
    if 2 * chats >= len(texts):
        raise UserError(
            f'{source}: "{column}" holds messages as JSON text in {chats} of the first {len(texts)} rows, and'
            " other text in the rest; write all of them as messages, or none"
        )
    return True
