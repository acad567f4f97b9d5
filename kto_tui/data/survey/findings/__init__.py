"""What a user should know of a data set before it is trained on, and what to do about it."""

from kto_tui.core.datareport import Finding
from kto_tui.data.survey.findings.base import Asked, Measured, finding, share
from kto_tui.data.survey.findings.labels import of_labels
from kto_tui.data.survey.findings.lengths import of_lengths
from kto_tui.data.survey.findings.texts import of_texts
from kto_tui.data.survey.repeats import Repeats
from kto_tui.data.survey.survey import RowSurvey

__all__ = ["Asked", "Measured", "find", "in_order", "share"]

_ORDER = {"error": 0, "warning": 1, "info": 2}


def find(survey: RowSurvey, repeats: Repeats, measured: Measured | None, asked: Asked) -> list[Finding]:
    """Everything, the worst first."""
    if not asked.times.any():
        return [finding("no_rows", "error", "there are no rows", "name a file that holds rated rows")]
    found = [*of_labels(survey, asked), *of_texts(survey, repeats, measured, asked)]
    if measured is not None:
        found += of_lengths(survey, measured)
    return in_order(found)


def in_order(findings: list[Finding]) -> list[Finding]:
    """The worst first, and of those what concerns most rows."""
    return sorted(findings, key=lambda finding: (_ORDER[finding.severity], -finding.rows))
