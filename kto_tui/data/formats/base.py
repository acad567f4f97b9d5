"""What all formats share: their interface, and looking up columns."""

import json
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.names import CHATS
from kto_tui.data.rows import Row
from kto_tui.data.wording import listed, shown

MISSING: Any = object()
Record = Mapping[str, Any]
EMPTY_AT_FIRST = (
    "is empty in the first rows, which are therefore read without it; write rows that need it to a data set"
    " of their own"
)
UNREAD_LATE = "is not read"  # Listed, not refused: nothing is read otherwise for it.
_EMPTY = ("", "[]", "{}", "null")  # As tables write out what is empty.


class UnratedError(UserError):
    """Nobody has rated this record of an export yet: no mistake, but no row either."""


class TiedError(UserError):
    """As many people found it good as bad, or both answers of a pair are the same: it contradicts itself."""


class UnexplainedScale(UserError):
    """A rating is of a scale that nobody explained: each 0 and 1 of its source may mean anything.

    No defect of one record, and never to be skipped: raised on, whatever is done with bad rows.
    """


class Format(ABC):
    """How a record is turned into rated rows. `name` is for people.

    `columns` are those that are read or looked at, for files that are stored by column; None for all of them.
    `uses` are the columns that prompt, answer and rating are read from. `late`: columns that rows have no
    place for, each with why and what to do; filled after rows that are empty there, they are refused, since
    nobody would know that they are not read. Those that change nothing (UNREAD_LATE) are then listed instead.
    """

    expects = "an object with its columns"
    settled = True  # False for an export that had no rating yet among the records it was recognized from.
    # Columns of the records it was recognized from that hold something and are not read.
    unread: tuple[str, ...] = ()
    # Options that name a column which these records do not have: meant for another data set, or misspelled.
    unused: tuple[str, ...] = ()
    # The columns found, where the rating that the user named is not among them and another one is read.
    unnamed: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        columns: frozenset[str] | None = None,
        uses: Iterable[str] = (),
        late: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.columns = columns
        self.uses = tuple(uses)
        self.late: dict[str, str] = {}
        self._watched: frozenset[str] = frozenset()
        self.watch(late or {})

    def watch(self, late: Mapping[str, str]) -> None:
        """Have these columns too refused, or listed, where they are first filled late."""
        self.late |= late
        self._watched = frozenset(self.late)
        if self.columns is not None:
            self.columns |= self._watched

    def rows(self, record: Any, where: str) -> list[Row]:
        """The row, or both rows of a pair, the desirable one first.

        Raises UserError that names the place, the column, what was found and what is wanted; also
        UnexplainedScale, TiedError, and of exports UnratedError.
        """
        if type(record) is not dict and not isinstance(record, Mapping):
            raise UserError(f"{where}: found {shown(record)}; expected {self.expects}")
        if not self._watched.isdisjoint(record):
            self._refuse_late(record, where)
        return self._rows(record, where)

    def _refuse_late(self, record: Record, where: str) -> None:
        """Refuse what came too late to be read, and list what would not be read anyway."""
        for name, why in self.late.items():
            if name not in record or not is_filled(record[name]) or self._knows(name, record):
                continue
            if why is UNREAD_LATE:
                self.unread = tuple(dict.fromkeys((*self.unread, name)))
                continue
            if why.startswith(EMPTY_AT_FIRST):
                if name in CHATS and not _may_be_talk(record[name]):
                    continue  # The number or the name of a conversation.
                self._rows(record, where)  # What it lacks, as a row of another form does, says more.
            raise UserError(f'{where}: "{name}" {why}')

    def _knows(self, name: str, record: Record) -> bool:  # noqa: ARG002
        """Whether people know that what stands in that column of `late` is not read, or nothing is lost."""
        return name in self.unread

    def passed_over(self, records: Iterable[Record]) -> tuple[str, ...]:  # noqa: ARG002
        """Of the columns that are read, those whose text in these records ends up in no row."""
        return ()

    def at_odds(self) -> str:
        """At the end of a source: why its threshold must be of another scale; "" where nothing says so."""
        return ""

    @abstractmethod
    def _rows(self, record: Record, where: str) -> list[Row]: ...


def parsed(text: Any) -> Any:
    """The value of JSON text that is an object or a list; anything else as it is."""
    if not isinstance(text, str) or text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def with_outer(names: Iterable[str]) -> frozenset[str]:
    """The columns, and for "inputs.question" also "inputs", which it may be nested in."""
    return frozenset(part for name in names for part in (name, name.partition(".")[0]))


def look_up(record: Record, name: str) -> Any:
    """The value of a column; "inputs.question" also finds what is nested so, also in JSON text.

    MISSING if there is none.
    """
    if name in record:
        return record[name]
    head, dot, rest = name.partition(".")
    if dot and isinstance(inner := parsed(record.get(head)), Mapping):
        return look_up(inner, rest)
    return MISSING


def cell(record: Record, name: str, option: str, where: str) -> Any:
    """The value of a column. Raises UserError if there is none, naming those that are there."""
    value = look_up(record, name)
    if value is MISSING:
        raise UserError(f'{where}: no column "{name}"; found {listed(record)} (choose one with {option})')
    return value


def is_filled(value: Any) -> bool:
    """Whether something stands in a cell; tables write out what is empty as text."""
    if isinstance(value, str):
        return value.strip() not in _EMPTY
    return value is not None and value != [] and value != {}


def _may_be_talk(value: Any) -> bool:
    """Whether it is a list or an object, also as JSON text."""
    return isinstance(value, (list, Mapping)) or (isinstance(value, str) and value.lstrip()[:1] in ("[", "{"))


def unread(records: Iterable[Record], read: Container[str]) -> tuple[str, ...]:
    """The columns that hold something in one of the records and are not among those that are read."""
    held = dict.fromkeys(name for record in records for name, value in record.items() if is_filled(value))
    return tuple(name for name in held if name not in read)
