"""One reading of a data set from its first row to its last: every row surveyed, every bad one told."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import msgspec
import numpy as np
from numpy.typing import NDArray

from kto_tui.core.datareport import Finding, SourceRead
from kto_tui.core.errors import UserError
from kto_tui.data.load import OpenedSource, open_dataset
from kto_tui.data.rows import Columns, Row
from kto_tui.data.survey.cleaning import Cleaning
from kto_tui.data.survey.survey import RowSurvey

BATCH = 256
TOLD = 20
_MOST_REASONS = 10
_OTHER = "other reasons"
Lengths = tuple[int, int]
# Tokens of prompt and answer of each row. Raises UserError for a row that cannot be tokenized.
Measure = Callable[[Sequence[Row]], list[Lengths]]
OnRows = Callable[[int], None]


class BadRows(msgspec.Struct):
    """Rows that cannot be used: all of them counted, by reason too, and the first ones in words.

    `broken_off` says where a file could not be read any further.
    """

    count: int = 0
    first: list[str] = []
    reasons: dict[str, int] = {}
    broken_off: list[str] = []

    def add(self, error: UserError) -> None:
        """One more."""
        text = str(error)
        self.count += 1
        if len(self.first) < TOLD:
            self.first.append(text)
        reason = text.partition(": ")[2].partition(";")[0] or text
        if reason not in self.reasons and len(self.reasons) >= _MOST_REASONS:
            reason = _OTHER
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def findings(self) -> list[Finding]:
        """What the report says of them."""
        found = [
            Finding(
                kind="broken_file",
                severity="error",
                message=f"not read to its end: {error}",
                advice="the rows after this place are in no figure here",
            )
            for error in self.broken_off[:TOLD]
        ]
        if self.count:
            told = Finding(
                kind="bad_rows",
                severity="error",
                message=f"{self.count:,} row{'' if self.count == 1 else 's'} cannot be trained on as written",
                advice="mend them, or have check-data --fix leave them out",
                rows=self.count,
                examples=tuple(self.first[:10]),
            )
            found.append(told)
        return found


@dataclass
class Reading:
    """A data set as it was read. `taken`: for each row that was read, 1 if it is in the survey.

    skipped: records without a rating of their own, by reason. cleaned: records that held characters nobody
    means to train on. prompts, completions: tokens of the rows in the survey; empty where nothing measured
    them.
    """

    survey: RowSurvey = field(default_factory=lambda: RowSurvey(each_once=True))
    bad: BadRows = field(default_factory=BadRows)
    sources: list[SourceRead] = field(default_factory=list)
    taken: bytearray = field(default_factory=bytearray)
    skipped: dict[str, int] = field(default_factory=dict)
    cleaned: int = 0
    prompts: "array[int]" = field(default_factory=lambda: array("i"))
    completions: "array[int]" = field(default_factory=lambda: array("i"))

    @property
    def lengths(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Tokens of prompts and answers, (rows,) each."""
        return np.array(self.prompts, dtype=np.int32), np.array(self.completions, dtype=np.int32)

    def skip(self, reason: str, count: int) -> None:
        """Count records that are no rows and no mistakes."""
        if count:
            self.skipped[reason] = self.skipped.get(reason, 0) + count


class DataSets:
    """The data sets of a --dataset, read as often as wanted, always the same rows in the same order.

    Each row comes once, whatever the weight of its data set. `clean`: characters that nobody means to train
    on are taken out before a record is looked at. Raises UserError for one that is not there.
    """

    def __init__(self, dataset: str, columns: Columns, *, clean: bool = False) -> None:
        self.opened = open_dataset(dataset, columns)
        self.weights = [opened.weight for opened in self.opened]
        self.cleaning = [Cleaning(opened.format) for opened in self.opened]
        for opened, cleaning in zip(self.opened, self.cleaning, strict=True):
            opened.weight = 1.0
            if clean:
                opened.format = cleaning

    def read(self, measure: Measure | None, on_rows: OnRows) -> Reading:
        """All of it. `on_rows` is told how many rows were read so far."""
        reading = Reading()
        for opened, weight in zip(self.opened, self.weights, strict=True):
            before = len(reading.taken)
            for rows in _batches(opened, reading.bad):
                _take(rows, reading, measure)
                on_rows(len(reading.taken))
            told = SourceRead(
                name=opened.name,
                format=opened.format.name,
                records=opened.records,
                rows=len(reading.taken) - before,
                weight=weight,
            )
            reading.sources.append(told)
            reading.skip("nobody has rated them", opened.unrated)
            reading.skip("as many found them good as bad", opened.tied)
        reading.cleaned = sum(cleaning.count for cleaning in self.cleaning)
        return reading

    def rows(self) -> Iterator[Row]:
        """The rows that `read` reads."""
        unheard = BadRows()
        for opened in self.opened:
            yield from chain.from_iterable(_batches(opened, unheard))


def _batches(opened: OpenedSource, bad: BadRows) -> Iterator[list[Row]]:
    """The good rows, some at a time."""
    rows = opened.rows(on_bad=bad.add)
    batch: list[Row] = []
    try:
        for row in rows:
            batch.append(row)
            if len(batch) == BATCH:
                yield batch
                batch = []
    except UserError as error:
        bad.broken_off.append(str(error))
    if batch:
        yield batch


def _take(rows: list[Row], reading: Reading, measure: Measure | None) -> None:
    """Survey and measure the rows; those that no tokenizer takes are bad ones."""
    lengths = _measured(rows, reading.bad, measure) if measure else None
    for number, row in enumerate(rows):
        length = lengths[number] if lengths else (0, 0)
        reading.taken.append(length is not None)
        if length is None:
            continue
        reading.survey.add(row)
        if lengths:
            reading.prompts.append(length[0])
            reading.completions.append(length[1])


def _measured(rows: list[Row], bad: BadRows, measure: Measure) -> list[Lengths | None]:
    try:
        return [*measure(rows)]
    except UserError as error:
        if len(rows) > 1:  # One of them: the others are to be measured all the same.
            return [length for row in rows for length in _measured([row], bad, measure)]
        bad.add(error)
        return [None]
