"""The dashboard's app: ties the feed, the screen and the terminal together."""

import time
from collections.abc import Callable, Iterable
from typing import Literal

from textual.app import SystemCommand
from textual.message import Message
from textual.screen import Screen

from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.insight.state import RunState
from kto_tui.run.journal import JournalReader
from kto_tui.ui.feed import EventSource, Feed, News
from kto_tui.ui.requests import Requests, Send
from kto_tui.ui.screens.dashboard import DashboardScreen
from kto_tui.ui.terminal import TerminalApp

Outcome = Literal["detached", "ended"]


class DashboardApp(TerminalApp[Outcome]):
    """Shows one run and passes requests on. Returns whether the run was alive when its user left.

    `alive` says whether a supervisor holds the run. `send` writes a request down and returns it with its
    id; None where there is no run to ask. `source` replaces the run's journal.
    """

    # Textual declares these in a way that lets no subclass call them class variables.
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (120, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (20, "-short"), (34, "-tall")]  # noqa: RUF012

    class NewsCame(Message):
        """The feed has read something."""

        def __init__(self, news: News) -> None:
            super().__init__()
            self.news = news

    def __init__(
        self,
        directory: RunDirectory,
        config: RunConfig | None,
        *,
        alive: Callable[[], bool],
        send: Send | None,
        clock: Callable[[], float] = time.time,
        source: EventSource | None = None,
    ) -> None:
        super().__init__()
        self._dashboard = DashboardScreen(directory, config, Requests(send, clock), clock)
        reader = source or JournalReader(directory.events)
        self._feed = Feed(reader, directory.log, alive, lambda news: self.post_message(self.NewsCame(news)))

    @property
    def state(self) -> RunState:
        """The run as far as this dashboard has read it; what was seen last once it is closed."""
        return self._dashboard.state

    def get_default_screen(self) -> Screen[None]:
        return self._dashboard

    def on_ready(self) -> None:
        """The screen has been painted: from here on there are panes to fill."""
        self.run_worker(self._feed.run, name="feed", thread=True, exclusive=True)

    def on_unmount(self) -> None:
        self._feed.stop()

    def leave(self) -> None:
        """Close the dashboard. The run is not touched."""
        self._feed.stop()
        self.exit("ended" if self._dashboard.over else "detached")

    def on_dashboard_app_news_came(self, message: NewsCame) -> None:
        self._dashboard.take(message.news)

    def on_dashboard_screen_left(self) -> None:
        self.leave()

    def action_help_quit(self) -> None:
        self.notify("Press d to leave the dashboard; the run goes on.", markup=False)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield from self._dashboard.commands()
        for command in super().get_system_commands(screen):
            if command.title not in ("Quit", "Keys"):
                yield command
