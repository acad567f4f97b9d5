"""What a whole data set is like: repeats, contradictions, lengths, template text, leaks. Free of torch."""

from kto_tui.data.survey.leaking import leaks
from kto_tui.data.survey.report import build_report
from kto_tui.data.survey.survey import RowSurvey

__all__ = ["RowSurvey", "build_report", "leaks"]
