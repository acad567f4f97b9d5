"""What `kto-tui check-data` does: reads, reports, and writes what can be trained on."""

from collections.abc import Callable, Mapping, Set
from pathlib import Path

import msgspec
import numpy as np

from kto_tui.core.config import RunConfig, class_weights
from kto_tui.core.datareport import DataReport, Finding
from kto_tui.core.errors import UserError
from kto_tui.core.mixture import split_sources
from kto_tui.core.setting import AUTO
from kto_tui.data.rows import Columns
from kto_tui.data.survey.balance import balanced_weights
from kto_tui.data.survey.fixing import Fixed, check_target, refuse_among_data, write_fixed
from kto_tui.data.survey.leaking import leaks
from kto_tui.data.survey.reading import BadRows, DataSets, Measure, OnRows, Reading
from kto_tui.data.survey.report import build_report
from kto_tui.data.survey.survey import RowSurvey
from kto_tui.data.survey.unused import unused

Look = Callable[[RowSurvey], list[Finding]]


class Checked(msgspec.Struct, kw_only=True):
    """What came of it, by split: train, and eval where there is one.

    `not_written` says why the file that was asked for could not be written.
    """

    reports: dict[str, DataReport]
    bad: dict[str, BadRows]
    fixed: Fixed | None = None
    not_written: str = ""

    @property
    def errors(self) -> bool:
        """Whether anything has to be mended before these rows can be trained on, or written."""
        found = (finding for report in self.reports.values() for finding in report.findings)
        return bool(self.not_written) or any(finding.severity == "error" for finding in found)


def check(
    config: RunConfig,
    on_rows: OnRows,
    *,
    fix: Path | None = None,
    measure: Measure | None = None,
    special_tokens: Set[str] | None = None,
    look: Look | None = None,
) -> Checked:
    """Read `config.dataset` and `config.eval_dataset`, and report. With `fix`, write the training rows there.

    `measure`, `special_tokens` and `look` are the tokenizer's, where there is one; `look` says what of the
    rows its chat template leaves out. Raises UserError where nothing could be read, and for ratings of a
    scale that nobody explained.
    """
    assert config.dataset is not None
    if fix:
        check_target(fix)
        refuse_among_data(fix, [part.name for part in split_sources(config.dataset)])
    columns = Columns.of(config)
    data = {"train": DataSets(config.dataset, columns, config.seed, clean=fix is not None)}
    if config.eval_dataset is not None:
        data["eval"] = DataSets(config.eval_dataset, columns, config.seed)
    readings = {split: sets.read(measure, on_rows) for split, sets in data.items()}
    looked = {split: look(reading.survey) if look else [] for split, reading in readings.items()}
    looked["train"] += unused(data["train"].opened)
    reports = {
        split: _report(split, readings, config, special_tokens, looked[split], measured=measure is not None)
        for split in readings
    }
    checked = Checked(reports=reports, bad={split: found.bad for split, found in readings.items()})
    if fix:
        try:
            checked.fixed = write_fixed(fix, data["train"], readings["train"], config.max_length)
        except UserError as error:  # What was found out is worth telling all the same.
            checked.not_written = str(error)
    return checked


def _report(
    split: str,
    readings: Mapping[str, Reading],
    config: RunConfig,
    special_tokens: Set[str] | None,
    looked: list[Finding],
    *,
    measured: bool,
) -> DataReport:
    reading = readings[split]
    prompts, completions = reading.lengths
    leaked = leaks(readings["train"].survey, reading.survey) if split == "eval" else []
    return build_report(
        reading.survey,
        sources=reading.sources,
        prompt_lengths=prompts if measured else None,
        completion_lengths=completions if measured else None,
        max_length=config.max_length if measured else 0,
        times=reading.taken_times,
        dropped={**reading.skipped, **reading.bad.reasons},
        weights=_weights(reading, config) if split == "train" else None,
        weights_given=config.class_weights != AUTO,
        special_tokens=special_tokens,
        evaluation=split == "eval",
        more=[*reading.bad.findings(), *leaked, *looked, *_held_out(split, config)],
    )


def _held_out(split: str, config: RunConfig) -> list[Finding]:
    if split == "eval" or config.eval_fraction is None:
        return []
    return [
        Finding(
            kind="held_out",
            severity="info",
            message=f"--eval-fraction {config.eval_fraction:g} is not taken off: these are all rows",
            advice="a run holds out prompts whole, so none of them is in both parts",
        )
    ]


def _weights(reading: Reading, config: RunConfig) -> tuple[float, float] | None:
    """As training will choose them, of the rows that it keeps; None where they are of one class."""
    if given := class_weights(config.class_weights):
        return given
    times, labels = reading.taken_times, reading.survey.labels
    prompts, _ = reading.lengths
    if len(prompts):
        times = np.where(prompts < config.max_length, times, 0)
    good, bad = int(times[labels].sum()), int(times[~labels].sum())
    return balanced_weights(good, bad) if good and bad else None
