"""Requests made from this dashboard: which were asked, and which may not be asked now."""

from collections.abc import Callable

from kto_tui.core.commands import Command, CommandName
from kto_tui.core.errors import one_line
from kto_tui.insight.lines import Asked, unanswered
from kto_tui.insight.state import RunState

Send = Callable[[CommandName], Command]


class Requests:
    """Passes requests on and remembers them. `send` is None where there is nobody to ask."""

    def __init__(self, send: Send | None, clock: Callable[[], float]) -> None:
        self._send = send
        self._clock = clock
        self.asked: tuple[Asked, ...] = ()

    def ask(self, name: CommandName, state: RunState, over: bool) -> str | None:
        """Make a request. Returns why it was not made, or None if it was."""
        if over:
            return "The run has ended: there is nothing to steer."
        if self._send is None:
            return "This dashboard was opened on a run that had ended: attach again to steer it."
        if self.pending(name, state, over):
            return f"{name.capitalize()} is asked already: waiting for the run to answer."
        try:
            command = self._send(name)
        except OSError as error:
            self.asked += (Asked(name, self._clock(), problem=one_line(error)),)
            return None
        self.asked += (Asked(name, command.time, command.id),)
        return None

    def pending(self, name: CommandName, state: RunState, over: bool) -> bool:
        """Whether such a request still waits for its answer."""
        return name in self.waiting(state, over)

    def waiting(self, state: RunState, over: bool) -> tuple[CommandName, ...]:
        """The requests that still wait for their answer, oldest first."""
        return tuple(
            request.command
            for request in self.asked
            if request.id and request.id not in state.replies and not unanswered(request, state, over)
        )
