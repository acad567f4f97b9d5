"""Which run this is and what it does: the top of the dashboard."""

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from kto_tui.insight.view import HeaderView
from kto_tui.ui.widgets.tones import STATUS


class RunHeader(Widget):
    """Status, model, data and directory; two lines, or one where there is no room."""

    view: reactive[HeaderView | None] = reactive(None)

    def render(self) -> Content:
        if self.view is None:
            return Content("kto-tui")
        mark, style = STATUS[self.view.status]
        badge = Content.assemble((f"{mark} {self.view.status.upper()}", style))
        asked = (f" · {', '.join(self.view.asked)} asked" if self.view.asked else "", "$text-warning")
        first = Content.assemble(("kto-tui  ", "bold"), badge, asked, "  ", self.view.model)
        second = Content.assemble(
            ("run ", "$foreground 60%"), self.view.directory, ("  data ", "$foreground 60%"), self.view.data
        )
        width = max(1, self.size.width)
        return Content("\n").join([line.truncate(width, ellipsis=True) for line in (first, second)])
