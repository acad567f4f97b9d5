"""The data report: classes, lengths, and what is wrong with the rows."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from kto_tui.core.datareport import DataReport, Finding
from kto_tui.insight.lines import Line, Piece, Tone
from kto_tui.insight.text import clean_text, format_whole
from kto_tui.ui.widgets.tones import to_text

_BAR = 30
_NAME = 11
_FIGURE = 10
_LONGEST_UNREAD = 50
_PERCENTILES = ("p5", "p50", "p95", "p99", "max")
_TITLES = {"train": "Training data", "eval": "Evaluation data"}
_SEVERITIES: dict[str, tuple[str, Tone]] = {
    "error": ("ERROR", "bad"),
    "warning": ("WARNING", "warning"),
    "info": ("NOTE", "good"),
}


class DataScreen(ModalScreen[None]):
    """The reports as they were when it was opened; scrolls."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,d,i,enter", "close", "close"),
    ]

    def __init__(self, reports: Mapping[str, DataReport]) -> None:
        super().__init__()
        self._reports = reports

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog help") as page:
            page.border_title = "Data"
            page.border_subtitle = "escape closes"
            for split, report in self._reports.items():
                yield Static(to_text([*_head(split, report), *_figures(report)]), markup=False)
                for finding in report.findings:
                    yield Static(to_text(_message(finding)), markup=False)
                    yield _indented(to_text(_advice(finding)))
                yield Static("")

    def action_close(self) -> None:
        self.dismiss(None)


def _indented(text: Content) -> Static:
    static = Static(text, markup=False)
    static.styles.padding = (0, 0, 0, 2)
    return static


def _head(split: str, report: DataReport) -> Iterator[Line]:
    rows = report.desirable + report.undesirable
    yield (Piece(f"{_TITLES.get(split, split)}: {rows:,} rows", "good"),)
    for source in report.sources:
        times = f" taken {source.weight:g} times" if source.weight != 1 else ""
        yield _line("Read", clean_text(source.name))
        yield _line("", clean_text(source.format))
        yield _line("", f"{source.records:,} records{times}, {source.rows:,} rows")
        if source.unread:
            yield _line("", f"not read: {clean_text(', '.join(source.unread), _LONGEST_UNREAD)}")
    if not rows:
        return
    good = round(_BAR * report.desirable / rows)
    yield (
        Piece(f"{'Classes':<{_NAME}}", "dim"),
        Piece("█" * good, "good"),
        Piece("░" * (_BAR - good), "bad"),
    )
    yield _line("", f"{report.desirable:,} desirable, {report.undesirable:,} undesirable")
    if report.weights is not None:
        yield _line("Weights", f"{report.weights[0]:.4g} : {report.weights[1]:.4g} in the loss")


def _figures(report: DataReport) -> Iterator[Line]:
    if report.completion_tokens:
        yield _line("Tokens", "".join(f"{name:>{_FIGURE}}" for name in _PERCENTILES))
        for name, tokens in (("prompts", report.prompt_tokens), ("answers", report.completion_tokens)):
            figures = (f"{format_whole(tokens.get(key)):>{_FIGURE}}" for key in _PERCENTILES)
            yield _line(f"  {name}", "".join(figures))
        yield _line("Truncated", f"{report.truncated:,} at --max-length {report.max_length:,}")
    most = max((each.rows for each in report.histogram), default=0)
    for each in report.histogram:
        drawn = "█" * round(_BAR * each.rows / most) or ("▏" if each.rows else "")
        tone: Tone = "warning" if each.tokens > report.max_length else "plain"
        yield (
            Piece(f"{f'≤ {each.tokens:,}':>{_NAME - 1}} ", "dim"),
            Piece(drawn, tone),
            Piece(f" {each.rows:,}"),
        )
    for number, (reason, count) in enumerate(report.dropped.items()):
        yield _line("" if number else "Left out", f"{count:,}: {clean_text(reason)}")
    if not report.findings:
        yield (Piece("Nothing to complain about."),)
    yield (Piece(""),)


def _line(name: str, value: str) -> Line:
    return (Piece(f"{name:<{_NAME}}", "dim"), Piece(value))


def _message(finding: Finding) -> list[Line]:
    word, tone = _SEVERITIES[finding.severity]
    return [(Piece(f"{word} ", tone), Piece(clean_text(finding.message)))]


def _advice(finding: Finding) -> list[Line]:
    """What to do, and the first rows that have it."""
    advice = clean_text(finding.advice)
    if not advice.startswith("-"):
        advice = advice[:1].upper() + advice[1:]
    lines: list[Line] = [(Piece(advice),)] if advice else []
    return [*lines, *((Piece(f"· {clean_text(place)}", "dim"),) for place in finding.examples)]
