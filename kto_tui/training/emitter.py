"""Events on their way to the supervisor. Training never waits for a reader."""

import queue
import threading
import time
from collections import deque
from typing import Protocol

from kto_tui.core.events import DROPPABLE, AlertRaised, Event

CLOSE_SECONDS = 10.0
_RETRY_SECONDS = 0.02


class EventQueue(Protocol):
    """The part of a multiprocessing queue that is used here."""

    def put_nowait(self, item: Event, /) -> None: ...
    def close(self) -> None: ...
    def join_thread(self) -> None: ...
    def cancel_join_thread(self) -> None: ...


class Emitter:
    """Puts events on a queue that may be full. Only readings are dropped; the rest waits its turn."""

    def __init__(self, events: EventQueue) -> None:
        self._queue = events
        self._waiting: deque[Event] = deque()
        self._dropped = 0
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        """Send the event, now or as soon as there is room. Downloads emit from threads of their own."""
        with self._lock:
            self._send_waiting()
            if not self._waiting and self._put(event):
                return
            if isinstance(event, DROPPABLE):
                self._dropped += 1
            else:
                self._waiting.append(event)

    def flush(self) -> bool:
        """Send what waits, as far as there is room. True when nothing waits any more."""
        with self._lock:
            self._send_waiting()
            return not self._waiting

    def close(self, *, reader_alive: bool, seconds: float = CLOSE_SECONDS) -> None:
        """Send what is left, for at most `seconds`, and let the queue go.

        Without a reader nothing is waited for, since a full pipe would never empty.
        """
        deadline = time.monotonic() + seconds
        while reader_alive and not self.flush() and time.monotonic() < deadline:
            time.sleep(_RETRY_SECONDS)
        everything_sent = reader_alive and not self._waiting
        if not everything_sent:
            self._queue.cancel_join_thread()
        self._queue.close()
        if everything_sent:
            self._queue.join_thread()

    def _send_waiting(self) -> None:
        while self._waiting and self._put(self._waiting[0]):
            self._waiting.popleft()
        if self._dropped and not self._waiting and self._put(_dropped_alert(self._dropped)):
            self._dropped = 0

    def _put(self, event: Event) -> bool:
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            return False
        return True


def _dropped_alert(count: int) -> AlertRaised:
    return AlertRaised(
        kind="events_dropped",
        severity="info",
        message=f"{count} progress readings were dropped, since nobody took them in time",
        advice="Nothing else is missing; steps and checkpoints are always reported.",
    )
