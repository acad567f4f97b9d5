"""The checkpoint log: what was saved, deleted or could not be written, newest last."""

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from kto_tui.insight.lines import CHECKPOINT_HEAD, Line, Tone
from kto_tui.ui.widgets.following import FollowingView


class CheckpointLog(FollowingView):
    """Lines of pieces, one event each, cut at the view's edge."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--head", "log--dim", "log--good", "log--warning", "log--bad"}

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: Sequence[Line] = ()
        self.border_title = "Checkpoints"

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines in place of the former ones."""
        self._lines = lines
        self.set_line_count(len(lines))

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self.rich_style
        index = self.line_index(y)
        if y < self.HEAD_LINES:
            head = base + self.get_component_rich_style("log--head", partial=True)
            return Strip([Segment(CHECKPOINT_HEAD, head)]).adjust_cell_length(width, base)
        if index < len(self._lines):
            return self._line(self._lines[index], base).adjust_cell_length(width, base)
        nothing = "none yet" if index == 0 else ""
        return Strip([Segment(nothing, base + self._tone("dim"))]).adjust_cell_length(width, base)

    def _line(self, line: Line, base: Style) -> Strip:
        return Strip([Segment(piece.text, base + self._tone(piece.tone)) for piece in line])

    def _tone(self, tone: Tone) -> Style:
        return Style() if tone == "plain" else self.get_component_rich_style(f"log--{tone}", partial=True)
