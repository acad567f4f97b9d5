"""The metrics table: one row a logged step, the head fixed, the newest in view."""

from collections.abc import Iterable
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.reactive import reactive
from textual.strip import Strip

from kto_tui.insight.columns import GPU_MEMORY, HOST_MEMORY, Column, Layout, Widths, fit
from kto_tui.insight.history import MetricRow, NoteRow, Row, Turn
from kto_tui.ui.widgets.following import FollowingView

_TITLE = "Metrics"


class MetricsTable(FollowingView):
    """Draws only the lines in view, so that a run of any length costs the same.

    `on_host` says that there is no GPU whose memory could be meant.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--head", "table--better", "table--worse", "table--note"}

    on_host: reactive[bool] = reactive(False)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: list[Row] = []
        self._widths: tuple[int, ...] = tuple(Widths().widths)
        self._layout: Layout | None = None
        self._laid_out_for = 0
        self.border_title = _TITLE

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(self._rows)

    def extend(self, rows: Iterable[Row], widths: tuple[int, ...]) -> None:
        """Add rows at the end; `widths` are those of all columns, as `Widths` has them."""
        count = len(self._rows)
        self._rows.extend(rows)
        if len(self._rows) == count:
            return
        if widths != self._widths:
            self._widths = widths
            self._layout = None
        self.set_line_count(len(self._rows))
        self._retitle()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._retitle()

    def _retitle(self) -> None:
        """Say what is out of sight: newer rows below, and columns that do not fit."""
        parts = [_TITLE]
        if not self.following and self.lines_below:
            parts.append(f"{self.lines_below:,} newer below: press end")
        hidden = self._current_layout().hidden if self.scrollable_content_region.width else ()
        if hidden:
            parts.append("no room for " + ", ".join(hidden))
        self.border_title = " · ".join(parts)

    def _current_layout(self) -> Layout:
        width = self.scrollable_content_region.width
        if self._layout is None or width != self._laid_out_for:
            self._layout = fit(self._widths, width)
            self._laid_out_for = width
            self.call_later(self._retitle)
        return self._layout

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.rich_style
        index = self.line_index(y)
        if y < self.HEAD_LINES:
            segments = self._head(base)
        elif index < len(self._rows):
            segments = self._row(self._rows[index], base)
        else:
            return Strip.blank(width, base)
        return Strip(segments).adjust_cell_length(width, base)

    def _head(self, base: Style) -> list[Segment]:
        layout = self._current_layout()
        style = base + self.get_component_rich_style("table--head", partial=True)
        titles = [
            self._title(column).rjust(width) + " " * (layout.sign if column.turn else 0)
            for column, width in layout.columns
        ]
        return [Segment((" " * layout.gap).join(titles), style)]

    def _title(self, column: Column) -> str:
        return HOST_MEMORY if column.title == GPU_MEMORY and self.on_host else column.title

    def _row(self, row: Row, base: Style) -> list[Segment]:
        if isinstance(row, NoteRow):
            return [self._note(row, base)]
        layout = self._current_layout()
        segments: list[Segment] = []
        for column, width in layout.columns:
            style = self._turn_style(column, row, base)
            sign = _sign(column, column.turn(row)).rjust(layout.sign) if column.turn else ""
            segments.append(Segment(column.text(row).rjust(width) + sign, style))
            segments.append(Segment(" " * layout.gap, base))
        return segments

    def _note(self, row: NoteRow, base: Style) -> Segment:
        width = self.size.width
        text = f"── {row.text} "
        text = text + "─" * (width - cell_len(text)) if cell_len(text) < width else set_cell_size(text, width)
        return Segment(text, base + self.get_component_rich_style("table--note", partial=True))

    def _turn_style(self, column: Column, row: MetricRow, base: Style) -> Style:
        turn = column.turn(row) if column.turn else "same"
        if turn == "same":
            return base
        return base + self.get_component_rich_style(f"table--{turn}", partial=True)


def _sign(column: Column, turn: Turn) -> str:
    """An arrow that says which way the value went: a better loss went down, a better margin up."""
    if turn == "same":
        return " "
    up = (turn == "better") == (column.title != "Loss")
    return "▲" if up else "▼"
