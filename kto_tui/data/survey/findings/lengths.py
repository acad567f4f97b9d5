"""How long rows are, where a tokenizer counted them: cut, or dropped as the prompt alone is too long."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kto_tui.core.datareport import Finding
from kto_tui.data.survey.findings.base import RARE, Measured, finding, first, share
from kto_tui.data.survey.survey import RowSurvey


def of_lengths(survey: RowSurvey, measured: Measured) -> Iterator[Finding]:
    """All of it."""
    rows, longest = len(survey), measured.max_length
    full = measured.prompts >= longest
    if count := int(full.sum()):
        yield finding(
            "prompt_fills_length",
            "warning",
            f"dropped, as the prompt alone fills --max-length {longest}: {share(count, rows)}",
            "raise --max-length, or shorten the prompts",
            count,
            first(survey, full),
        )
        yield from _class_lost(survey.labels, full)
    whole = measured.prompts.astype(np.int64) + measured.completions
    cut = (whole > longest) & ~full
    if count := int(cut.sum()):
        enough = int(np.ceil(np.percentile(whole, 99) / 64) * 64)
        yield finding(
            "truncated",
            "warning" if count >= RARE * rows else "info",
            f"cut at --max-length {longest}: {share(count, rows)}",
            f"99% of the rows are whole with --max-length {enough}"
            if enough > longest
            else "their answers lose the end",
            count,
            first(survey, cut),
        )


def _class_lost(labels: NDArray[np.bool_], full: NDArray[np.bool_]) -> Iterator[Finding]:
    left = labels[~full]
    for label, kind in ((True, "desirable"), (False, "undesirable")):
        had = int((labels == label).sum())
        if had and not (left == label).any():
            yield finding(
                "class_lost",
                "error",
                f"none of the {had:,} {kind} rows can be trained on: their prompts fill --max-length",
                "raise --max-length",
                had,
            )
