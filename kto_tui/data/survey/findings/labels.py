"""How rows are rated: one class alone, one that is rare, weights, data sets of one class, the order."""

from collections.abc import Iterator

import numpy as np

from kto_tui.core.datareport import Finding
from kto_tui.data.survey.balance import HIGHEST_RATIO, LOWEST_RATIO
from kto_tui.data.survey.findings.base import RARE, Asked, finding, first, share
from kto_tui.data.survey.survey import RowSurvey

FEW_ROWS = 100


def of_labels(survey: RowSurvey, asked: Asked) -> Iterator[Finding]:
    """All of it."""
    yield from _classes(survey, asked)
    yield from _sources(survey, asked)
    yield from _order(survey)


def _classes(survey: RowSurvey, asked: Asked) -> Iterator[Finding]:
    rows, good = int(asked.times.sum()), int(asked.times[survey.labels].sum())
    if not 0 < good < rows:
        kind = "desirable" if good else "undesirable"
        yield finding(
            "one_class",
            "info" if asked.evaluation else "error",
            f"all {rows:,} rows are {kind}" if rows > 1 else f"the only row is {kind}",
            "no margin can be measured without the other class"
            if asked.evaluation
            else "KTO needs both desirable and undesirable answers; choose the rating with --label-column",
            rows,
        )
        return
    if rows < FEW_ROWS and not asked.evaluation:
        yield finding(
            "few_rows",
            "warning",
            f"{rows} rows are few",
            "figures will jump from step to step; add rows",
            rows,
        )
    if not asked.evaluation:
        yield from _balance(survey, good, rows - good, asked.weights)


def _sources(survey: RowSurvey, asked: Asked) -> Iterator[Finding]:
    """Data sets of one class among others: meant so, or rated in a way of their own."""
    if len(asked.names) < 2 or asked.evaluation:
        return
    of, labels = survey.sources, survey.labels
    if labels.all() or not labels.any():
        return  # That is told of all of them.
    for number, name in enumerate(asked.names, 1):
        here = of == number
        rows, good = int(here.sum()), int(labels[here].sum())
        if rows and good in (0, rows):
            yield finding(
                "one_class_source",
                "warning",
                f"{name}: all {rows:,} rows are {'desirable' if good else 'undesirable'}",
                "right for a file of such answers alone; else look at how it is rated (--label-column, "
                "--desirable-at-least)",
                rows,
            )


def _balance(
    survey: RowSurvey, good: int, bad: int, weights: tuple[float, float] | None
) -> Iterator[Finding]:
    rarer, kind = (good, "desirable") if good < bad else (bad, "undesirable")
    if rarer < RARE * (good + bad):
        yield finding(
            "imbalance",
            "warning",
            f"{kind} answers are rare: {share(rarer, good + bad)}",
            "what is learned from them hangs on a few rows, whatever their weight; add such rows",
            rarer,
            first(survey, survey.labels == (kind == "desirable")),
        )
    if weights is None:
        return
    ratio = good * weights[0] / (bad * weights[1]) if weights[1] else float("inf")
    if not LOWEST_RATIO * 0.999 <= ratio <= HIGHEST_RATIO * 1.001:
        wanted = "1 and 4/3 (arXiv 2402.01306, eq. 8)"
        yield finding(
            "weights",
            "warning",
            f"with --class-weights {weights[0]:g}:{weights[1]:g}, desirable rows weigh {ratio:.3g} times as "
            f"much as undesirable ones; the KTO paper keeps this between {wanted}",
            "--class-weights auto keeps to it",
        )


def _order(survey: RowSurvey) -> Iterator[Finding]:
    """Whether rows come sorted by label: far fewer runs of one label than in a random order."""
    labels = survey.labels
    rows, good = len(labels), int(labels.sum())
    expected = 1 + 2 * good * (rows - good) / rows
    ends = np.flatnonzero(np.r_[labels[1:] != labels[:-1], True])
    if expected < 10 or len(ends) > 0.1 * expected:
        return
    lengths = np.diff(np.r_[-1, ends])
    longest = int(np.argmax(lengths))
    begin = int(ends[longest] - lengths[longest] + 1)
    yield finding(
        "label_runs",
        "info",
        f"rows are sorted by label: {int(lengths[longest]):,} in a row are "
        f"{'desirable' if labels[begin] else 'undesirable'}",
        "harmless here: blocks hold both labels and are drawn in another order in each epoch",
        int(lengths[longest]),
        (survey.where(begin, int(ends[longest])),),
    )
