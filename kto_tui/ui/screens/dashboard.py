"""The one screen of a run: hands values to the panes, and key presses to the steering."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer

from kto_tui.core.commands import CommandName
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.insight.evaluation import evaluation_lines
from kto_tui.insight.lines import Line, checkpoint_line, detail_lines, has_details, notices
from kto_tui.insight.state import KEPT, RunState
from kto_tui.insight.view import OVER, Shown, ending_view, header_view, progress_view, shown_status
from kto_tui.ui.feed import News
from kto_tui.ui.requests import Requests
from kto_tui.ui.screens.confirm import ConfirmScreen
from kto_tui.ui.screens.data import DataScreen
from kto_tui.ui.screens.details import DetailsScreen
from kto_tui.ui.screens.help import HelpScreen
from kto_tui.ui.widgets.checkpoint_log import CheckpointLog
from kto_tui.ui.widgets.ending import EndingBanner
from kto_tui.ui.widgets.evaluation import EvaluationPane
from kto_tui.ui.widgets.gauge import MemoryGauge
from kto_tui.ui.widgets.header import RunHeader
from kto_tui.ui.widgets.metrics_table import MetricsTable
from kto_tui.ui.widgets.notices import NoticeLog
from kto_tui.ui.widgets.progress import ProgressPane


class DashboardScreen(Screen[None]):
    """Shows a run and asks things of it. Holds the newest state; every pane is given its part."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "steer('pause')", "pause"),
        Binding("p", "steer('resume')", "resume"),
        Binding("c", "steer('checkpoint')", "checkpoint"),
        Binding("k", "steer('park')", "park"),
        Binding("k", "unpark", "resume"),
        Binding("s", "stop", "stop"),
        Binding("p,c,k,s", "say_over", show=False),
        Binding("enter", "details", "details"),
        Binding("i", "data", "data"),
        Binding("d", "detach", "detach"),
        Binding("d", "leave", "quit"),
        Binding("q", "leave", show=False),
        Binding("question_mark", "help", "help", key_display="?"),
    ]

    class Left(Message):
        """The user wants out of the dashboard."""

    def __init__(
        self,
        directory: RunDirectory,
        config: RunConfig | None,
        requests: Requests,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self._directory = directory
        self._config = config
        self._requests = requests
        self._clock = clock
        self._opened = clock()
        self.state = RunState()
        self._alive = True
        self._caught_up = False
        self._log_tail: tuple[str, ...] = ()
        self._checkpoint_lines: list[Line] = []
        self._header = RunHeader(id="header")
        self._ending = EndingBanner(id="ending")
        self._progress = ProgressPane(id="progress")
        self._memory = MemoryGauge(id="memory")
        self._metrics = MetricsTable(id="metrics")
        self._evaluation = EvaluationPane(id="evaluation")
        self._checkpoints = CheckpointLog(id="checkpoints")
        self._notices = NoticeLog(id="notices")

    @property
    def status(self) -> Shown:
        """What the run is doing, as far as the journal has been read."""
        return shown_status(self.state, alive=self._alive, caught_up=self._caught_up, opened=self._opened)

    @property
    def over(self) -> bool:
        """Whether the run has ended, one way or another."""
        return self.status in OVER

    @property
    def _told(self) -> tuple[bool, bool]:
        """Whether there is more to read: of alerts, of the data."""
        return has_details(self.state), bool(self.state.reports)

    def compose(self) -> ComposeResult:
        yield self._header
        yield self._ending
        with Container(id="top"):
            yield self._progress
            yield self._memory
        with Container(id="body"):
            yield self._metrics
            with Container(id="side"):
                yield self._evaluation
                yield self._checkpoints
                yield self._notices
        yield Footer()

    def on_mount(self) -> None:
        self._metrics.focus()
        self._show_all()
        self.set_interval(1.0, self._tick)

    def take(self, news: News) -> None:
        """Show the run as it is now."""
        before, shown, told = self.status, self.state.checkpoint_events, self._told
        self.state, self._alive, self._caught_up = news.state, news.alive, news.caught_up
        self._log_tail = news.log_tail
        self._metrics.extend(news.rows, news.widths)
        self._show_checkpoints(self.state.checkpoint_events - shown)
        self._show_all()
        if self.status != before or self._told != told:
            self.refresh_bindings()

    def _show_checkpoints(self, new: int) -> None:
        """Add what happened to `new` checkpoints; the newest are shown."""
        if new:
            kept = self._config is None or self._config.keep_requested == "yes"
            events = self.state.checkpoint_log[-new:]
            lines = (checkpoint_line(event, keep_requested=kept) for event in events)
            self._checkpoint_lines = [*self._checkpoint_lines, *lines][-2 * KEPT :]
            self._checkpoints.show(self._checkpoint_lines)

    def _show_all(self) -> None:
        status, path = self.status, self._directory.path
        self._progress.view = progress_view(self.state, status, self._clock())
        self._memory.devices = self.state.devices
        self._metrics.on_host = any(device.kind == "host" for device in self.state.devices)
        self._evaluation.lines = evaluation_lines(self.state, self._config)
        ending = ending_view(self.state, status, path, self._log_tail)
        self._ending.view = ending
        self.set_class(ending is not None and bool(ending.log_tail), "-troubled")
        self._show_requests()

    def _show_requests(self) -> None:
        """The header and the messages: what changes with a request."""
        waiting = self._requests.waiting(self.state, self.over)
        path = self._directory.path
        self._header.view = header_view(self.state, self._config, path, self.status, waiting)
        self._notices.lines = notices(self.state, self._requests.asked, self.over)

    def _tick(self) -> None:
        """Once a second: time passes on the screen even when the run has nothing to say."""
        self._progress.view = progress_view(self.state, self.status, self._clock())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Which of the bindings of one key is in force now."""
        match action:
            case "steer":
                holding = self.status in ("paused", "parked")
                wanted = {"pause": not holding, "resume": holding, "park": self.status != "parked"}
                return not self.over and wanted.get(str(parameters[0]), True)
            case "unpark":
                return self.status == "parked"
            case "stop" | "detach":
                return not self.over
            case "say_over":
                return self.over
            case "details":
                return has_details(self.state)
            case "data":
                return bool(self.state.reports)
        return True

    def action_steer(self, name: CommandName) -> None:
        """Ask the run for something; the messages show what becomes of it."""
        refusal = self._requests.ask(name, self.state, self.over)
        if refusal:
            self.notify(refusal, severity="warning", markup=False)
        self._show_requests()

    def action_unpark(self) -> None:
        self.action_steer("resume")

    def action_stop(self) -> None:
        """Ask the user first: a stop ends the run."""
        question = ConfirmScreen(
            "Stop the run?",
            "A checkpoint is saved at the next step, then the run ends. It can be resumed from there.",
            yes="save and stop",
            no="let it go on",
        )
        self.app.push_screen(question, lambda yes: self.action_steer("stop") if yes else None)

    def action_say_over(self) -> None:
        ending = ending_view(self.state, self.status, self._directory.path, ())
        advice = ending.advice if ending else ""
        self.notify(
            f"The run has ended: there is nothing to steer. {advice}", severity="warning", markup=False
        )

    def action_leave(self) -> None:
        self.post_message(self.Left())

    def action_detach(self) -> None:
        self.action_leave()

    def action_details(self) -> None:
        self.app.push_screen(DetailsScreen(detail_lines(self.state)))

    def action_data(self) -> None:
        self.app.push_screen(DataScreen(self.state.reports))

    def action_help(self) -> None:
        self.app.push_screen(HelpScreen())

    def commands(self) -> Iterable[SystemCommand]:
        """The keys by name, for the command palette."""
        yield SystemCommand("Help", "Explain the keys and the columns (?)", self.action_help)
        if has_details(self.state):
            yield SystemCommand(
                "Details", "All that the newest alerts have to say (enter)", self.action_details
            )
        if self.state.reports:
            yield SystemCommand(
                "Data", "Classes, lengths, and what is wrong with the rows (i)", self.action_data
            )
        if self.over:
            yield SystemCommand("Quit", "Leave the dashboard (d)", self.action_leave)
            return
        holding = self.status in ("paused", "parked")
        if holding:
            yield self._steer("resume", "Go on from where the run holds (p)")
        else:
            yield self._steer("pause", "Save a checkpoint and hold (p)")
        yield self._steer("checkpoint", "Save a checkpoint now and go on (c)")
        if self.status != "parked":
            yield self._steer("park", "Save, and let the device go until resumed (k)")
        yield SystemCommand("Stop", "Save a checkpoint and end the run; asks first (s)", self.action_stop)
        yield SystemCommand("Detach", "Leave the dashboard; the run goes on (d)", self.action_leave)

    def _steer(self, name: CommandName, help_text: str) -> SystemCommand:
        return SystemCommand(name.capitalize(), help_text, partial(self.action_steer, name))
