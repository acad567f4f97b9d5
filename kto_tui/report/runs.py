"""The list of runs: where each lies, what it is doing and how far it is."""

from collections.abc import Sequence

from kto_tui.insight.text import format_duration, format_metric
from kto_tui.report.aligned import Side, aligned
from kto_tui.report.frame import Frame
from kto_tui.report.width import shorten
from kto_tui.run.registry import RunSummary

_HEAD = ("DIRECTORY", "STATE", "STEP", "MARGIN", "CHECKPOINTS", "LAST NEWS")
_SIDES: tuple[Side, ...] = ("left", "left", "right", "right", "right", "right")
_DIRECTORY_WIDTH = 60


def format_runs(summaries: Sequence[RunSummary], now: float, *, unicode: bool) -> str:
    """The table of runs in the order given. `now` is seconds since the epoch; ages count from it."""
    frame = Frame(unicode=unicode)
    rows = [_HEAD, *(_row(summary, now, frame) for summary in summaries)]
    return "\n".join(aligned(rows, _SIDES)) + "\n"


def _row(summary: RunSummary, now: float, frame: Frame) -> tuple[str, ...]:
    directory = shorten(frame.text(str(summary.directory.path)), _DIRECTORY_WIDTH, frame.ellipsis)
    total = f"/{summary.total_steps}" if summary.total_steps is not None else ""
    age = format_duration(now - summary.updated) + " ago" if summary.updated is not None else "–"
    return (
        directory,
        summary.status,
        f"{summary.step}{total}",
        frame.text(format_metric(summary.margin)),
        str(summary.checkpoints),
        frame.text(age),
    )
