"""What signals ask of a run. Handlers only take note; the supervisor acts at its next turn."""

import signal
import time
from collections.abc import Iterator
from typing import Literal

from kto_tui.core.commands import Command, new_command

_GRACE_USED = 0.95  # The rest of the grace is for saying how the run ended.


class Signals:
    """SIGINT and SIGTERM end the run, SIGUSR1 asks for a checkpoint, SIGHUP is nothing to a run.

    `grace_seconds`: how long after SIGTERM everything is to be over; None: as long as it takes.
    """

    def __init__(self, grace_seconds: float | None) -> None:
        self._grace = grace_seconds
        self._noted: list[int] = []
        self._seen = 0
        self._deadline: float | None = None
        self.first: int | None = None

    def listen(self) -> None:
        """Take the signals from now on."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, lambda number, _frame: self._noted.append(number))

    def wishes(self, *, stopping: bool) -> Iterator[Command | Literal["end"]]:
        """What the signals since the last look ask for. `stopping`: a stop is asked for already."""
        fresh, self._seen = self._noted[self._seen :], len(self._noted)
        for number in fresh:
            if number == signal.SIGUSR1:
                yield new_command("checkpoint", keeps=False)
                continue
            again, self.first = self.first is not None, self.first or number
            urgent = number == signal.SIGTERM and self._grace is not None and self._deadline is None
            if urgent:
                assert self._grace is not None
                self._deadline = time.monotonic() + _GRACE_USED * self._grace
            if urgent or not stopping:
                stopping = True
                yield new_command("stop", urgent=urgent, insists=True)
            elif again and number == signal.SIGINT:
                yield "end"

    def shortened(self, seconds: float) -> float:
        """So many seconds, or half of the grace where one is running and is short."""
        return seconds if self._deadline is None or self._grace is None else min(seconds, self._grace / 2)

    def is_overdue(self, now: float) -> bool:
        """Whether the grace is used up. `now`: of the monotonic clock, in seconds."""
        return self._deadline is not None and now >= self._deadline
