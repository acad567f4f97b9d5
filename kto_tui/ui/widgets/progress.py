"""How far the run is: stage, step, bar, elapsed time and ETA."""

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from kto_tui.insight.text import format_duration, format_percent
from kto_tui.insight.view import ProgressView
from kto_tui.ui.widgets.bar import moving_bar, split_bar


class ProgressPane(Widget):
    """Two lines: words and figures above, the bar with its percentage and detail below."""

    view: reactive[ProgressView | None] = reactive(None)

    def on_mount(self) -> None:
        self.border_title = "Progress"

    def render(self) -> Content:
        if self.view is None:
            return Content("")
        return Content("\n").join([self._words(self.view), self._bar(self.view)])

    def _words(self, view: ProgressView) -> Content:
        """Stage and step to the left; as many times to the right as leave these whole."""
        width = max(1, self.size.width)
        left = Content.assemble((view.label, "bold"), "  ", view.steps)
        elapsed = self._time("elapsed", view.elapsed_seconds)
        eta = self._time("ETA", view.eta_seconds)
        for right in (elapsed + eta, eta):
            room = width - left.cell_length - right.cell_length
            if room >= 0:
                return left + " " * room + right
        return left.truncate(width, ellipsis=True)

    def _time(self, name: str, seconds: float | None) -> Content:
        return Content.assemble((f"  {name} ", "$foreground 60%"), format_duration(seconds))

    def _bar(self, view: ProgressView) -> Content:
        width = self.size.width
        percent = "" if view.fraction is None else f" {format_percent(100 * view.fraction):>4}"
        detail = Content(f"  {view.detail}" if view.detail else "").truncate(width // 2, ellipsis=True)
        room = max(1, width - len(percent) - detail.cell_length)
        if view.fraction is not None:
            filled, empty = split_bar(view.fraction, room)
            bar = Content.assemble((filled, "$primary"), (empty, "$foreground 30%"))
        else:
            # Moves once a second with the time that has passed, so that a long stage is seen to live.
            before, block, after = moving_bar(int(view.elapsed_seconds) * 3 if view.moving else 0, room)
            bar = Content.assemble(
                (before, "$foreground 30%"), (block, "$primary"), (after, "$foreground 30%")
            )
        return bar + percent + detail
