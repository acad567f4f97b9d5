"""Whether a worker that died is started again, and when."""

from kto_tui.core.events import RunEnded

_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 60.0


class Restarts:
    """At most `limit` in a sitting, each later than the one before unless the run got further in between.

    What the worker itself knows to be lasting is not tried again, nor is an error of its own that came twice
    at the same step. A worker that was killed said nothing, and may always be tried again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._last: RunEnded | None = None
        self._delay = 0.0
        self.made = 0

    def may_follow(self, failure: RunEnded, *, killed: bool) -> bool:
        """Whether this end of the worker may be followed by a restart; `killed`: it was not its own."""
        if failure.status != "failed" or not failure.transient or self.made >= self._limit:
            return False
        last = self._last
        again = last is not None and (last.step, last.error) == (failure.step, failure.error)
        return killed or not again

    def next_delay(self, failure: RunEnded) -> float:
        """Count a restart after this failure; returns the seconds to wait before it."""
        further = self._last is None or failure.step > self._last.step
        self._delay = _FIRST_SECONDS if further else min(_LONGEST_SECONDS, 2 * self._delay)
        self._last = failure
        self.made += 1
        return self._delay

    def describe(self) -> str:
        """Which one the present restart is."""
        return f"restart {self.made} of {self._limit}"
