"""The columns of the metrics table: what each says, how wide it grows, and which go when space is short."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter

from kto_tui.insight.history import MetricRow, NoteRow, Row, Turn
from kto_tui.insight.text import (
    format_duration,
    format_learning_rate,
    format_loss,
    format_memory,
    format_metric,
    format_rate,
)

GPU_MEMORY = "GPU Mem"
# What that column is called where there is no GPU, and the figure is the worker's own memory.
HOST_MEMORY = "Memory"


@dataclass(frozen=True)
class Column:
    """One column. Of two that do not both fit, the one of less `worth` goes.

    `width` holds the usual texts; `number` is set where a text may outgrow it. `turn` names the
    column that is judged against the row before and carries a sign for it.
    """

    title: str
    worth: int
    width: int
    text: Callable[[MetricRow], str]
    number: Callable[[MetricRow], float | None] | None = None
    turn: Callable[[MetricRow], Turn] | None = None


def _metric_column(
    title: str, worth: int, name: str, turn: Callable[[MetricRow], Turn] | None = None
) -> Column:
    number = attrgetter(name)
    return Column(title, worth, 6, lambda row: format_metric(number(row)), number, turn)


def _last_step(row: MetricRow) -> int:
    return max(row.step, row.total_steps)


COLUMNS: tuple[Column, ...] = (
    Column("Step", 10, 7, lambda row: f"{row.step}/{row.total_steps}", _last_step),
    Column("Loss", 9, 6, lambda row: format_loss(row.loss), attrgetter("loss"), attrgetter("loss_turn")),
    Column("LR", 3, 8, lambda row: format_learning_rate(row.learning_rate)),
    _metric_column("Chosen", 6, "chosen"),
    _metric_column("Reject", 5, "rejected"),
    _metric_column("Margin", 8, "margin", attrgetter("margin_turn")),
    _metric_column("KL", 1, "kl"),
    Column(GPU_MEMORY, 4, 7, lambda row: format_memory(row.memory_bytes)),
    Column("Samp/sec", 2, 8, lambda row: format_rate(row.samples_per_second)),
    Column("ETA", 7, 7, lambda row: format_duration(row.eta_seconds)),
)


@dataclass
class Widths:
    """How wide each column must be for all rows seen; a row costs a few comparisons."""

    widths: list[int] = field(default_factory=lambda: [column.width for column in COLUMNS])
    _least: list[float] = field(default_factory=lambda: [0.0] * len(COLUMNS))
    _most: list[float] = field(default_factory=lambda: [0.0] * len(COLUMNS))

    def add(self, row: Row) -> None:
        """Make room for this row. Only a number beyond all earlier ones can be wider than they."""
        if isinstance(row, NoteRow):
            return
        for index, column in enumerate(COLUMNS):
            value = column.number(row) if column.number else None
            if value is None or self._least[index] <= value <= self._most[index]:
                continue
            self._least[index] = min(self._least[index], value)
            self._most[index] = max(self._most[index], value)
            self.widths[index] = max(self.widths[index], self._needed(column, row))

    @staticmethod
    def _needed(column: Column, row: MetricRow) -> int:
        if column.title == "Step":
            return 2 * len(str(_last_step(row))) + 1
        return len(column.text(row))


@dataclass(frozen=True)
class Layout:
    """The columns that fit: (column, width of its text), `gap` spaces apart; and those left out.

    Where a column has a sign, it takes `sign` cells behind the text.
    """

    columns: tuple[tuple[Column, int], ...]
    gap: int
    sign: int
    hidden: tuple[str, ...]


_SPACINGS = ((3, 2), (2, 2), (1, 2), (1, 1))


def fit(widths: Iterable[int], available: int) -> Layout:
    """As many columns as `available` cells hold, dropping those of least worth first."""
    kept = list(zip(COLUMNS, widths, strict=True))
    hidden: list[str] = []
    while len(kept) > 1 and _total(kept, *_SPACINGS[-1]) > available:
        least = min(kept, key=lambda pair: pair[0].worth)
        kept.remove(least)
        hidden.append(least[0].title)
    fitting = (spacing for spacing in _SPACINGS if _total(kept, *spacing) <= available)
    gap, sign = next(fitting, _SPACINGS[-1])
    return Layout(tuple(kept), gap, sign, tuple(hidden))


def _total(columns: list[tuple[Column, int]], gap: int, sign: int) -> int:
    signs = sum(sign for column, _ in columns if column.turn)
    return sum(width for _, width in columns) + signs + gap * (len(columns) - 1)
