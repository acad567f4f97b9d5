"""One reading of a data set from its first row to its last: every row surveyed, every bad one told."""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from kto_tui.core.datareport import Finding, SourceRead
from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Format, UnexplainedScale
from kto_tui.data.load import OpenedSource, open_dataset
from kto_tui.data.rows import Columns, Row
from kto_tui.data.survey.cleaning import Cleaning
from kto_tui.data.survey.survey import RowSurvey

BATCH = 256
TOLD = 20
OF_EACH = 5  # Rows told of each reason: else one reason would hide where the others are.
_MOST_REASONS = 10
_OTHER = "other reasons"
Lengths = tuple[int, int]
# Tokens of prompt and answer of each row. Raises UserError for a row that cannot be tokenized.
Measure = Callable[[Sequence[Row]], list[Lengths]]
OnRows = Callable[[int], None]
Weighed = tuple[Row, int]


class BadRows(msgspec.Struct):
    """Rows that cannot be used: all of them counted, by reason too, and the first of each reason in words.

    `broken_off` says where a file could not be read any further, `misjudged` of which data sets the ratings
    do not go with --desirable-at-least: all of their rows count as undesirable here.
    """

    count: int = 0
    first: list[str] = []
    reasons: dict[str, int] = {}
    broken_off: list[str] = []
    misjudged: list[str] = []

    def add(self, error: UserError) -> None:
        """One more."""
        text = str(error)
        self.count += 1
        reason = text.partition(": ")[2].partition(";")[0] or text
        if reason not in self.reasons and len(self.reasons) >= _MOST_REASONS:
            reason = _OTHER
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if self.reasons[reason] <= OF_EACH:
            self.first.append(text)

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
        found += [
            Finding(
                kind="misjudged",
                severity="error",
                message=error,
                advice="until then its rows are undesirable in all figures here, and --fix writes nothing",
            )
            for error in self.misjudged[:TOLD]
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
    means to train on. times: how often each row in the survey is taken, by the weight of its data set.
    prompts, completions: tokens of the rows in the survey; empty where nothing measured them.
    """

    survey: RowSurvey = field(default_factory=lambda: RowSurvey(each_once=True))
    bad: BadRows = field(default_factory=BadRows)
    sources: list[SourceRead] = field(default_factory=list)
    taken: bytearray = field(default_factory=bytearray)
    skipped: dict[str, int] = field(default_factory=dict)
    cleaned: int = 0
    times: "array[int]" = field(default_factory=lambda: array("H"))
    prompts: "array[int]" = field(default_factory=lambda: array("i"))
    completions: "array[int]" = field(default_factory=lambda: array("i"))

    @property
    def lengths(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Tokens of prompts and answers, (rows,) each."""
        return np.array(self.prompts, dtype=np.int32), np.array(self.completions, dtype=np.int32)

    @property
    def taken_times(self) -> NDArray[np.int64]:
        """`times` as an array, (rows,)."""
        return np.array(self.times, dtype=np.int64)

    def skip(self, records: Mapping[str, int]) -> None:
        """Count records that are no rows and no mistakes, by reason."""
        for reason, count in records.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + count


class DataSets:
    """The data sets of a --dataset, read as often as wanted, always the same rows in the same order.

    Each row comes once, whatever the weight of its data set. `clean`: characters that nobody means to train
    on are taken out before a record is looked at. `seed` draws the rows that a weight takes once more.
    Raises UserError for one that is not there.
    """

    def __init__(self, dataset: str, columns: Columns, seed: int = 42, *, clean: bool = False) -> None:
        self.opened = open_dataset(dataset, columns, seed)
        self._explained = columns.desirable_at_least is not None
        self.cleaning = [Cleaning(opened.format) for opened in self.opened]
        for opened, cleaning in zip(self.opened, self.cleaning, strict=True):
            if clean:
                opened.format = cast(Format, cleaning)

    def read(self, measure: Measure | None, on_rows: OnRows) -> Reading:
        """All of it. `on_rows` is told how many rows were read so far.

        Raises UnexplainedScale where no --desirable-at-least was given: nobody knows which ratings are good.
        """
        reading = Reading()
        for opened in self.opened:
            given = 0
            reading.survey.begin_source()
            for rows in _batches(opened, reading.bad, explained=self._explained):
                _take(rows, reading, measure)
                given += sum(times for _, times in rows)
                on_rows(len(reading.taken))
            reading.sources.append(opened.told(given))
            reading.skip(opened.skipped)
        reading.cleaned = sum(cleaning.count for cleaning in self.cleaning)
        return reading

    def rows(self) -> Iterator[Row]:
        """The rows that `read` reads."""
        unheard = BadRows()
        for opened in self.opened:
            yield from (
                row for batch in _batches(opened, unheard, explained=self._explained) for row, _ in batch
            )


def _batches(opened: OpenedSource, bad: BadRows, *, explained: bool) -> Iterator[list[Weighed]]:
    """The good rows, some at a time, each once and beside it how often it is taken.

    explained: the user said which ratings are good. That it cannot be so shows at the end of the source.
    """
    batch: list[Weighed] = []
    try:
        for rows, times in opened.weighed(on_bad=bad.add):
            batch += [(row, times) for row in rows]
            if len(batch) >= BATCH:
                yield batch
                batch = []
    except UnexplainedScale as error:
        if not explained:
            raise
        bad.misjudged.append(str(error))
    except UserError as error:
        bad.broken_off.append(str(error))
    if batch:
        yield batch


def _take(rows: list[Weighed], reading: Reading, measure: Measure | None) -> None:
    """Survey and measure the rows; those that no tokenizer takes are bad ones."""
    lengths = _measured([row for row, _ in rows], reading.bad, measure) if measure else None
    for number, (row, times) in enumerate(rows):
        length = lengths[number] if lengths else (0, 0)
        reading.taken.append(length is not None)
        if length is None:
            continue
        reading.survey.add(row)
        reading.times.append(times)
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
