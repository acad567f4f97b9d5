"""From what was counted to the report that everybody shows."""

from collections.abc import Mapping, Sequence, Set

import msgspec
import numpy as np
from numpy.typing import NDArray

from kto_tui.core.datareport import DataReport, Finding, SourceRead
from kto_tui.data.survey.findings import Asked, Measured, find, in_order
from kto_tui.data.survey.lengths import Lengths, bars, spread
from kto_tui.data.survey.repeats import Repeats, find_repeats
from kto_tui.data.survey.survey import RowSurvey

FILLS_LENGTH = "the prompt fills the length"
_MOST_FINDINGS = 100


def build_report(
    survey: RowSurvey,
    *,
    sources: Sequence[SourceRead] = (),
    prompt_lengths: Lengths | None = None,
    completion_lengths: Lengths | None = None,
    max_length: int = 0,
    dropped: Mapping[str, int] | None = None,
    times: NDArray[np.integer] | None = None,
    weights: tuple[float, float] | None = None,
    weights_given: bool = False,
    special_tokens: Set[str] | None = None,
    evaluation: bool = False,
    more: Sequence[Finding] = (),
    repeats: Repeats | None = None,
) -> DataReport:
    """The report of one split. All but the survey is optional.

    prompt_lengths, completion_lengths: (rows,) tokens before truncation of the rows as they were added to
    the survey. dropped: rows that are not trained on, by reason; those whose prompt fills max_length are
    counted here where the lengths are given. times: (rows,) how often each is trained on, where the weights
    of data sets are not in the survey already. weights: those of the loss; `weights_given` by the user, who
    is told where they are out of the paper's band. special_tokens: the tokenizer's. more: findings to add,
    as `leaks` gives them. repeats: where they are known already. Raises ValueError for lengths of another
    number of rows.
    """
    measured = _measured(survey, prompt_lengths, completion_lengths, max_length)
    taken = np.ones(len(survey), dtype=np.int64) if times is None else times.astype(np.int64)
    asked = Asked(
        taken,
        tuple(source.name for source in sources),
        weights if weights_given else None,
        special_tokens,
        evaluation,
    )
    found = find(survey, repeats or find_repeats(survey), measured, asked)
    kept = np.ones(len(survey), dtype=np.bool_)
    reasons = dict(dropped or {})
    if measured is not None:
        kept = measured.prompts < max_length
        if full := int(taken[~kept].sum()):
            reasons[FILLS_LENGTH] = full
    report = DataReport(
        sources=tuple(sources),
        desirable=int(taken[kept & survey.labels].sum()),
        undesirable=int(taken[kept & ~survey.labels].sum()),
        weights=weights,
        max_length=max_length,
        dropped={reason: count for reason, count in reasons.items() if count},
        findings=tuple(in_order([*found, *more])[:_MOST_FINDINGS]),
    )
    return report if measured is None else _with_tokens(report, measured, taken)


def _measured(
    survey: RowSurvey, prompts: Lengths | None, completions: Lengths | None, max_length: int
) -> Measured | None:
    if prompts is None or completions is None:
        return None
    if not len(prompts) == len(completions) == len(survey):
        raise ValueError(f"lengths of {len(prompts)} and {len(completions)} rows; expected {len(survey)}")
    return Measured(prompts, completions, max_length)


def _with_tokens(report: DataReport, measured: Measured, taken: NDArray[np.int64]) -> DataReport:
    prompts = np.repeat(measured.prompts, taken)
    completions = np.repeat(measured.completions, taken)
    whole = prompts.astype(np.int64) + completions
    cut = (whole > measured.max_length) & (prompts < measured.max_length)
    return msgspec.structs.replace(
        report,
        truncated=int(cut.sum()),
        prompt_tokens=spread(prompts),
        completion_tokens=spread(completions),
        histogram=bars(whole),
    )
