"""Messages: alerts of the run, and requests with their answers."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.reactive import reactive
from textual.widgets import Static

from kto_tui.insight.lines import Line
from kto_tui.ui.widgets.tones import to_text


class NoticeLog(VerticalScroll):
    """Wrapped lines, the newest in view unless the user has scrolled up."""

    lines: reactive[Sequence[Line]] = reactive((), init=False)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = Static("nothing to report", markup=False, id="notices-text")

    def compose(self) -> ComposeResult:
        yield self._text

    def on_mount(self) -> None:
        self.border_title = "Messages"

    def watch_lines(self, lines: Sequence[Line]) -> None:
        if not lines:
            return
        following = self.is_vertical_scroll_end
        self._text.update(to_text(lines))
        if following:
            self.scroll_end(animate=False)
