"""Rows to evaluate on that are trained on as well."""

import numpy as np

from kto_tui.core.datareport import Finding
from kto_tui.data.survey.findings import share
from kto_tui.data.survey.survey import EXAMPLES, RowSurvey, pairs_of

_ADVICE = "what is evaluated was seen in training, and looks better than it is; take these rows out of one"


def leaks(train: RowSurvey, evaluation: RowSurvey) -> list[Finding]:
    """Answers, and prompts with other answers, that stand in both. Both surveys are of this process."""
    asked, theirs = evaluation.prompts, train.prompts
    same_prompt = np.isin(asked, theirs)
    same_answer = np.isin(pairs_of(asked, evaluation.answers), pairs_of(theirs, train.answers))
    found = []
    for kind, which, what in (
        ("leaked_answers", same_answer, "with the same answer"),
        ("leaked_prompts", same_prompt & ~same_answer, "with other answers"),
    ):
        if count := int(which.sum()):
            found.append(
                Finding(
                    kind=kind,
                    severity="warning",
                    message=f"prompts of the training data, {what}: {share(count, len(evaluation))}",
                    advice=_ADVICE,
                    rows=count,
                    examples=tuple(
                        evaluation.where(row) for row in np.flatnonzero(which)[:EXAMPLES].tolist()
                    ),
                )
            )
    return found
