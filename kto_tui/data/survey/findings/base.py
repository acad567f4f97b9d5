"""What all findings share: what they are told of, and how they are worded."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kto_tui.core.datareport import Finding
from kto_tui.data.survey.lengths import Lengths
from kto_tui.data.survey.survey import EXAMPLES, RowSurvey

RARE = 0.05
MANY = 0.01  # From this share of the rows on, repeats are more than a slip.
Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Measured:
    """Tokens of each row before truncation, (rows,) in the order of the survey, and the longest row."""

    prompts: Lengths
    completions: Lengths
    max_length: int


@dataclass(frozen=True)
class Asked:
    """What the settings say: `weights` (desirable, undesirable) that the user gave, None for balanced ones.

    `times`: (rows,) how often each is trained on. `names`: the data sets, in the order of the survey.
    `special`: the special tokens of the tokenizer, None where that is not known. `evaluation`: the rows are
    only evaluated on.
    """

    times: NDArray[np.int64]
    names: tuple[str, ...] = ()
    weights: tuple[float, float] | None = None
    special: Set[str] | None = None
    evaluation: bool = False


def share(part: int, whole: int) -> str:
    """A part of the rows: "12 of 1,000 rows (1.2%)"."""
    percent = 100 * part / whole if whole else 0.0
    digits = f"{percent:.1f}" if 0.05 <= percent <= 99.95 or part in (0, whole) else f"{percent:.2g}"
    return f"{part:,} of {whole:,} rows ({digits.removesuffix('.0')}%)"


def finding(
    kind: str, severity: Severity, message: str, advice: str, rows: int = 0, examples: tuple[str, ...] = ()
) -> Finding:
    """One, of so many rows, with the places of the first."""
    return Finding(kind=kind, severity=severity, message=message, advice=advice, rows=rows, examples=examples)


def examples(survey: RowSurvey, rows: list[int]) -> tuple[str, ...]:
    """The places of the first of these rows."""
    return tuple(survey.where(row) for row in rows[:EXAMPLES])


def first(survey: RowSurvey, which: NDArray[np.bool_]) -> tuple[str, ...]:
    """The places of the first rows of a mask, (rows,)."""
    return examples(survey, np.flatnonzero(which).tolist()[:EXAMPLES])
