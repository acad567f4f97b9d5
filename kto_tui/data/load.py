"""From the names of data sets to their rated rows, one at a time, and what they come to."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kto_tui.core.config import SAMPLE_DATASET
from kto_tui.core.counts import Counts
from kto_tui.core.datareport import SourceRead
from kto_tui.core.errors import UserError, printable
from kto_tui.core.mixture import Weighted, split_sources
from kto_tui.data.counting import count_rows
from kto_tui.data.files import is_data_file, read_records
from kto_tui.data.formats import Format, TiedError, UnratedError, recognize
from kto_tui.data.formats.base import UnexplainedScale
from kto_tui.data.hub_rows import open_hub, split_name
from kto_tui.data.rows import Columns, Row
from kto_tui.data.wording import listed
from kto_tui.models.hub import looks_like_path

__all__ = ["Columns", "OpenedSource", "check_rows", "load_rows", "open_dataset"]

UNRATED, TIED = "nobody has rated them", "rated good as often as bad"
FIRST = 20  # Records that a format is recognized from.
_MORE = (200, 2000)  # As many more of an export that begins with records that nobody rated.
_SAMPLE = Path(__file__).with_name("sample.jsonl")
_COLUMNAR = (".parquet", ".arrow")
_MASK = 2**64 - 1
_MOST_UNREAD = 12
_LONGEST_NAME = 60

Records = Iterator[tuple[str, Any]]
Reader = Callable[[frozenset[str] | None], Records]
OnBad = Callable[[UserError], None]


class OpenedSource:
    """One data set whose format is known. Its rows can be read as often as wanted.

    While they are read, `records` counts those of the file, `unrated` those that nobody has rated, and
    `tied` those that as many people found good as bad. Exports have such records, and they are skipped.
    """

    def __init__(self, part: Weighted, columns: Columns, read: Reader, seed: int, *, columnar: bool) -> None:
        self.name, self.weight = part.name, part.weight
        self.records = self.unrated = self.tied = 0
        self._read, self._seed, self._columnar = read, seed, columnar
        self._begun: Records | None
        self.format, self._begun = _recognized(read(None), columns, printable(part.name) or '""')

    def rows(self, on_bad: OnBad | None = None) -> Iterator[Row]:
        """The rated rows, those of one record together, and those of a weight of 2 twice each.

        Raises UserError for the first bad record; with `on_bad` that is told of it, and it is skipped. What
        the file itself makes unreadable (broken JSON, a file cut short) is raised either way, and so is
        UnexplainedScale: one 3 among ratings of 0 and 1 says that nobody knows what these mean.
        """
        for rows, times in self.weighed(on_bad):
            if times == 1:
                yield from rows
            else:
                yield from (row for _ in range(times) for row in rows)

    def weighed(self, on_bad: OnBad | None = None) -> Iterator[tuple[list[Row], int]]:
        """The rows of each record, and how often they are to be taken; raises as `rows` does."""
        self.records = self.unrated = self.tied = 0
        whole, part = divmod(self.weight, 1)
        times = int(whole)
        as_rows = self.format.rows
        for where, record in self._records():
            self.records += 1
            try:
                rows = as_rows(record, where)
            except UserError as error:
                self._skip(error, on_bad)
                continue
            if part:
                times = int(whole) + (_drawn(self._seed, self.records) < part)
            yield rows, times
        if wrong := self.format.at_odds():
            raise UnexplainedScale(f"{printable(self.name)}: {wrong}")

    @property
    def skipped(self) -> dict[str, int]:
        """Records that are no rows and no mistakes, by reason."""
        return {UNRATED: self.unrated, TIED: self.tied}

    def told(self, rows: int) -> SourceRead:
        """What reports say of it: it gave so many rows, its weight counted."""
        return SourceRead(
            name=printable(self.name),
            format=self.format.name,
            records=self.records,
            rows=rows,
            weight=self.weight,
            unread=_named(self.format.unread),
        )

    def _records(self) -> Records:
        """From the beginning: what recognizing has begun to read goes on, where that saves no columns."""
        begun, self._begun = self._begun, None
        if begun is not None and not (self._columnar and self.format.columns):
            return begun
        return self._read(self.format.columns)

    def _skip(self, error: UserError, on_bad: OnBad | None) -> None:
        if isinstance(error, UnratedError):
            self.unrated += 1
        elif isinstance(error, TiedError):
            self.tied += 1
        elif on_bad is None or isinstance(error, UnexplainedScale):
            raise error
        else:
            on_bad(error)


def open_dataset(dataset: str, columns: Columns, seed: int = 42) -> list[OpenedSource]:
    """The data sets of a --dataset: `builtin:sample`, files, folders, hub ids, each perhaps with a weight.

    A weight of 2.5 takes each record twice, and half of them once more: which ones is drawn by the seed and
    the record's number, so that it is the same each time. Raises UserError for what cannot be opened or is
    of no known format.
    """
    parts = split_sources(dataset)
    opened = [_opened(part, columns, seed + place) for place, part in enumerate(parts)]
    _require_named_rating(opened, columns)
    return opened


def load_rows(source: str, columns: Columns, seed: int = 42) -> Iterator[Row]:
    """The rated rows of all data sets that `source` names, one after the other, one at a time.

    Raises UserError, here or while the rows are read, that names the file and the row.
    """
    opened = open_dataset(source, columns, seed)
    return itertools.chain.from_iterable(part.rows() for part in opened)


def check_rows(source: str, columns: Columns, *, both_labels: bool = True) -> Counts:
    """Read every row and count. Raises UserError for a bad row, no rows, or labels of one class only.

    Rows that are only evaluated on do without `both_labels`.
    """
    opened = open_dataset(source, columns)
    counts = count_rows(itertools.chain.from_iterable(part.rows() for part in opened))
    name = printable(source)
    if counts.total == 0:
        raise UserError(f"{name} {_nothing(opened)}")
    if both_labels and not (counts.desirable and counts.undesirable):
        kind = "desirable" if counts.desirable else "undesirable"
        found = f"all {counts.total} rows are" if counts.total > 1 else "its only row is"
        raise UserError(
            f"{name}: {found} {kind}; KTO needs both desirable and undesirable answers"
            " (choose the rating with --label-column)"
        )
    return counts


def _require_named_rating(opened: list[OpenedSource], columns: Columns) -> None:
    """Refuse a rating that the user named and no data set has: of several, each other one keeps its own."""
    other = next((part for part in opened if part.format.unnamed), None)
    if other is None or any(columns.label in part.format.uses for part in opened):
        return
    raise UserError(
        f'{printable(other.name)}: no column "{printable(columns.label)}"; found'
        f" {listed(other.format.unnamed)} (choose one with --label-column)"
    )


def _nothing(opened: list[OpenedSource]) -> str:
    unrated, tied = (sum(part.unrated for part in opened), sum(part.tied for part in opened))
    if not unrated + tied:
        return "holds no rows"
    torn = f", {tied} {TIED}" if tied else ""
    return f"holds no rows: {unrated} records without a rating{torn} (choose the rating with --label-column)"


def _opened(part: Weighted, columns: Columns, seed: int) -> OpenedSource:
    if part.name == SAMPLE_DATASET:
        return OpenedSource(
            part, Columns(), lambda names: read_records(_SAMPLE, part.name, names), seed, columnar=False
        )
    path = Path(os.path.expanduser(part.name))
    shown = printable(part.name) or '""'
    owner, _, _ = split_name(part.name)
    if os.path.exists(path) or looks_like_path(owner) or is_data_file(part.name):
        return OpenedSource(
            part,
            columns,
            lambda names: read_records(path, shown, names),
            seed,
            columnar=os.path.isdir(path) or path.suffix.lower() in _COLUMNAR,
        )
    found = open_hub(part.name)
    return OpenedSource(part, columns, found.records, seed, columnar=True)


def _recognized(records: Records, columns: Columns, name: str) -> tuple[Format, Records]:
    """The format, and all records again, the first ones included."""
    first: deque[tuple[str, Any]] = deque()
    broken: list[UserError] = []
    for enough in (FIRST, *_MORE):
        try:
            first.extend(itertools.islice(records, enough - len(first)))
        except UserError as error:
            if not first:
                raise
            broken.append(error)
        where = first[0][0].rpartition(", row ")[0] if first else name
        try:
            known = recognize([record for _, record in first], columns, where or name)
        except UserError as error:
            # What breaks the file off may be why its columns are not all there.
            raise (broken or [error])[0] from None
        if (known.settled and not known.unnamed) or broken or len(first) < enough:
            break

    def again() -> Records:
        while first:
            yield first.popleft()
        if broken:
            raise broken[0]
        yield from records

    return known, again()


def _named(columns: Sequence[str]) -> tuple[str, ...]:
    """The first dozen names, fit to be shown, and how many more there are."""
    names = tuple(printable(name)[:_LONGEST_NAME] or '""' for name in columns[:_MOST_UNREAD])
    more = len(columns) - len(names)
    return (*names, f"{more} more") if more else names


def _drawn(seed: int, number: int) -> float:
    """From 0 to below 1, by a hash of both (splitmix64's): no state, so that rows can be read anew."""
    mixed: int = (seed * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return float((mixed ^ (mixed >> 31)) >> 11) / 2**53
