"""The banner of a run that is over: how it ended, why, how to go on, and the last words of its log."""

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from kto_tui.insight.view import EndingView
from kto_tui.ui.widgets.tones import STATUS


class EndingBanner(Vertical):
    """Hidden while the run is not over."""

    view: reactive[EndingView | None] = reactive(None, init=False)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = Static("", markup=False, id="ending-text")
        self._log_text = Static("", markup=False, id="ending-log-text")
        self._log = VerticalScroll(self._log_text, id="ending-log")
        self._log.border_title = "last lines of run.log"

    def compose(self) -> ComposeResult:
        yield self._text
        yield self._log

    def watch_view(self, view: EndingView | None) -> None:
        self.display = view is not None
        if view is None:
            return
        mark, style = STATUS[view.status]
        lines = [Content.styled(f"{mark} {view.headline}", style)]
        lines += [Content(text) for text in (view.reason, view.advice) if text]
        self._text.update(Content("\n").join(lines))
        self._log.display = bool(view.log_tail)
        self._log_text.update(Content("\n".join(view.log_tail)))
        self._log.scroll_end(animate=False)
