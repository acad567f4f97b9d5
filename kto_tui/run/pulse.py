"""Signs of life: whether a worker has said nothing for too long, and where it stands."""

import contextlib
import os
import signal
import statistics
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import psutil

from kto_tui.core.events import AlertRaised, Event, Progress, StageChanged, StepLogged
from kto_tui.insight.text import clean_text, format_duration

TIMES_THE_MEDIAN = 10
LEAST_SECONDS = 60.0
UNKNOWN_SECONDS = 900.0
DUMP_SECONDS = 1.0
_LOADING = ("loading_model", "preparing_data", "caching_reference")
_WATCHED = ("training", "evaluating", "saving")
_STEPS = 51
_STACK_BYTES = 16 * 1024


class Pulse:
    """Listens to a worker's events. `clock`: seconds that only ever grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._watched = self._loads = False
        self._seconds: deque[float] = deque(maxlen=_STEPS)
        self._progress: tuple[float, int] | None = None

    def hear(self, event: Event) -> None:
        """The worker said something."""
        self._last = self._clock()
        if isinstance(event, StageChanged):
            self._loads = event.stage in _LOADING
            self._watched = self._loads or event.stage in _WATCHED
            self._progress = None
        elif isinstance(event, Progress) and event.stage == "training":
            self._measure(event.done)
        elif isinstance(event, StepLogged):  # Progress comes once a second, and saves may come more often.
            self._measure(event.step)

    def stop(self) -> None:
        """The worker is gone, or nothing is expected of it."""
        self._watched = False
        self._progress = None

    @property
    def step_seconds(self) -> float | None:
        """The median time of a step; None before the first one."""
        return statistics.median(self._seconds) if self._seconds else None

    def silent_for(self) -> float | None:
        """Seconds since the last sign of life, if they are more than can be explained."""
        if not self._watched:
            return None
        usual = self.step_seconds
        allowed = (
            UNKNOWN_SECONDS if usual is None or self._loads else max(LEAST_SECONDS, TIMES_THE_MEDIAN * usual)
        )
        silent = self._clock() - self._last
        return silent if silent > allowed else None

    def _measure(self, done: int) -> None:
        now = self._clock()
        if self._progress is not None and done > self._progress[1]:
            since, before = self._progress
            self._seconds.append((now - since) / (done - before))
        self._progress = now, done


class StuckWorker:
    """A worker that stands still: its stacks are asked for, and told in an alert a moment later.

    The worker has faulthandler write them to the run's log at SIGUSR2, also where Python itself stands still.
    """

    def __init__(self, pid: int, log: Path, silent: float, usual: float | None) -> None:
        self._pid, self._log = pid, log
        self._silent, self._usual = silent, usual
        self._from = log.stat().st_size if log.exists() else 0
        self._due = time.monotonic() + DUMP_SECONDS
        self.told = False
        self._state = _state_of(pid)
        if self._state is not None:
            with contextlib.suppress(ProcessLookupError):  # It may have gone since.
                os.kill(pid, signal.SIGUSR2)

    def alert(self) -> AlertRaised | None:
        """What to tell the user, once and when the stacks have had time to be written."""
        if self.told or time.monotonic() < self._due:
            return None
        self.told = True
        usual = f", and a step takes {format_duration(self._usual)}" if self._usual else ""
        stacks = self._stacks()
        return AlertRaised(
            kind="worker_stuck",
            severity="error",
            message=f"nothing was heard of the worker for {format_duration(self._silent)}{usual}; "
            f"process {self._pid} is {self._state or 'gone'}",
            advice=self._advice(),
            detail=stacks or "the worker did not write its stacks",
        )

    def _advice(self) -> str:
        if self._state == psutil.STATUS_STOPPED:
            return f"It was stopped; let it go on with: kill -CONT {self._pid}"
        return (
            f"It may recover. If not: kill -9 {self._pid}, then go on from the newest checkpoint. "
            f"The stacks are in {self._log.name}."
        )

    def _stacks(self) -> str:
        try:
            with self._log.open("rb") as file:
                file.seek(self._from)
                text = file.read(_STACK_BYTES).decode("utf-8", "replace")
        except OSError as error:
            return f"{self._log.name} cannot be read: {error.strerror or error}"
        return "\n".join(clean_text(line) for line in text.splitlines())


class Watchman:
    """Hears a worker's events, and tells of one that stands still: once, until it moves again."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._pulse = Pulse()
        self._stuck: StuckWorker | None = None

    def hear(self, event: Event) -> None:
        """The worker said something."""
        self._pulse.hear(event)

    def rest(self) -> None:
        """There is no worker to look after."""
        self._pulse.stop()

    def look(self, pid: int | None) -> AlertRaised | None:
        """What is to be told of the worker with this process id now."""
        silent = self._pulse.silent_for()
        if silent is None or pid is None:
            self._stuck = None
        elif self._stuck is None:
            self._stuck = StuckWorker(pid, self._log, silent, self._pulse.step_seconds)
        else:
            return self._stuck.alert()
        return None


def _state_of(pid: int) -> str | None:
    """The process's state in a word; None if it is gone."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return None
