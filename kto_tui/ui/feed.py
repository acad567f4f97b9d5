"""Follows a run's journal on a thread and hands over what it says, at most five times a second."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kto_tui.core.events import AnyEvent
from kto_tui.insight.columns import Widths
from kto_tui.insight.history import Row, RowMaker
from kto_tui.insight.state import RunState, apply
from kto_tui.run.log import log_tail

POST_SECONDS = 0.2
ALIVE_SECONDS = 1.0


class EventSource(Protocol):
    """What the feed reads from; `kto_tui.run.journal.JournalReader` is one."""

    def read_events(self) -> list[AnyEvent]:
        """The next events; an empty list when there are none for now."""
        ...

    def close(self) -> None:
        """Let the source go."""
        ...


@dataclass(frozen=True)
class News:
    """The run as it is now, with the rows and column widths that came since the last news.

    `caught_up` is False while older parts of the journal are still being read.
    """

    state: RunState
    rows: tuple[Row, ...]
    widths: tuple[int, ...]
    alive: bool
    caught_up: bool
    log_tail: tuple[str, ...] = ()


class Feed:
    """Reads, folds and posts until it is stopped. Run `run` on a thread of its own."""

    def __init__(
        self,
        source: EventSource,
        log: Path,
        alive: Callable[[], bool],
        post: Callable[[News], object],
    ) -> None:
        self._source = source
        self._log = log
        self._is_alive = alive
        self._post = post
        self._stopped = threading.Event()
        self._state = RunState()
        self._maker = RowMaker()
        self._widths = Widths()
        self._alive = True
        self._alive_checked = float("-inf")
        self._posted_state: RunState | None = None
        self._posted_alive: bool | None = None

    def stop(self) -> None:
        """Make `run` return soon. May be called from any thread."""
        self._stopped.set()

    def run(self) -> None:
        """Follow the source until `stop`."""
        try:
            while not self._stopped.is_set():
                if self.turn():
                    self._stopped.wait(POST_SECONDS)
        finally:
            self._source.close()

    def turn(self) -> bool:
        """Read for at most one posting interval and post what is new. True once all is read."""
        # Asked before reading: a supervisor that is gone by now has written all that it ever will.
        alive = self._check_alive()
        rows, caught_up = self._read(time.monotonic() + POST_SECONDS)
        # States are immutable: one that is the same object says nothing new.
        if not caught_up or self._state is not self._posted_state or alive is not self._posted_alive:
            self._posted_state, self._posted_alive = self._state, alive if caught_up else None
            tail = self._tail(alive) if caught_up else ()
            self._post(News(self._state, rows, tuple(self._widths.widths), alive, caught_up, tail))
        return caught_up

    def _check_alive(self) -> bool:
        now = time.monotonic()
        if now - self._alive_checked >= ALIVE_SECONDS:
            self._alive_checked = now
            self._alive = self._is_alive()
        return self._alive

    def _read(self, deadline: float) -> tuple[tuple[Row, ...], bool]:
        """The rows of the events read before `deadline`, and whether nothing is left."""
        rows: list[Row] = []
        while not self._stopped.is_set():
            events = self._source.read_events()
            for event in events:
                self._take(event, rows)
            if not events:
                return tuple(rows), True
            if time.monotonic() >= deadline:
                break
        return tuple(rows), False

    def _take(self, event: AnyEvent, rows: list[Row]) -> None:
        self._state = apply(self._state, event)
        row = self._maker.row(event)
        if row is not None:
            self._widths.add(row)
            rows.append(row)

    def _tail(self, alive: bool) -> tuple[str, ...]:
        troubled = self._state.status(alive) in ("failed", "died")
        return log_tail(self._log) if troubled else ()
