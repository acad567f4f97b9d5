"""All that the newest alerts have to say, as the stacks of a worker that stands still."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from kto_tui.insight.lines import Line
from kto_tui.ui.widgets.tones import to_text


class DetailsScreen(ModalScreen[None]):
    """Lines as they were when it was opened; scrolls."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,d,enter", "close", "close"),
    ]

    def __init__(self, lines: Sequence[Line]) -> None:
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog help") as page:
            page.border_title = "Details"
            page.border_subtitle = "escape closes"
            yield Static(to_text(self._lines), markup=False)

    def action_close(self) -> None:
        self.dismiss(None)
