"""How well the run does on rows that it does not train on."""

from collections.abc import Sequence

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from kto_tui.insight.lines import Line
from kto_tui.ui.widgets.tones import to_content


class EvaluationPane(Widget):
    """A few lines, cut at the pane's edge; hidden while there are none, and where there is no room."""

    lines: reactive[Sequence[Line]] = reactive((), layout=True)

    def on_mount(self) -> None:
        self.border_title = "Evaluation"

    def watch_lines(self, lines: Sequence[Line]) -> None:
        self.set_class(not lines, "-empty")

    def render(self) -> Content:
        width = max(1, self.size.width)
        return Content("\n").join([to_content(line).truncate(width, ellipsis=True) for line in self.lines])
