"""Lines that scroll under a fixed head, with the newest kept in view until the user scrolls up."""

from textual import events
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView


class FollowingView(ScrollView, can_focus=True):
    """Base of the scrolling panes: subclasses hold the lines and draw them in `render_line`."""

    HEAD_LINES = 1

    following: reactive[bool] = reactive(True, repaint=False)

    def set_line_count(self, count: int) -> None:
        """Say how many lines there are below the head, and draw anew."""
        # No width: lines are cut to the view, there is nothing to scroll sideways.
        self.virtual_size = Size(0, count + self.HEAD_LINES)
        self._follow()
        self.refresh()

    @property
    def lines_below(self) -> int:
        """How many lines wait below the view."""
        return max(0, self.max_scroll_y - round(self.scroll_y))

    def line_index(self, y: int) -> int:
        """The line shown at `y` of the view; negative in the head."""
        return y - self.HEAD_LINES + self.scroll_offset.y if y >= self.HEAD_LINES else -1

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.following = round(new_value) >= self.max_scroll_y

    def watch_show_vertical_scrollbar(self, shown: bool) -> None:
        # A bar that appears after the scroll would otherwise stand where it stood before.
        if shown:
            self.vertical_scrollbar.position = self.scroll_y

    def on_resize(self, _event: events.Resize) -> None:
        self._follow()

    def action_scroll_end(self) -> None:
        self.following = True
        self._follow()

    def action_scroll_home(self) -> None:
        self.scroll_to(y=0, animate=False)

    def action_page_up(self) -> None:
        self._page(-1)

    def action_page_down(self) -> None:
        self._page(+1)

    def _page(self, pages: int) -> None:
        """Scroll by the lines in view: the head is none of them, or a page would skip lines."""
        lines = max(1, self.container_size.height - self.HEAD_LINES)
        self.scroll_to(y=self.scroll_y + pages * lines, animate=False)

    def _follow(self) -> None:
        if self.following:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True)
