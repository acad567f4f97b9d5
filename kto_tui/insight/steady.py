"""Time as a run lived through it, whatever happens to the wall clock in the meantime."""

from dataclasses import dataclass

from kto_tui.core.events import Event

# The supervisor's own events may overtake those of its worker by so much: no clock was set then.
_OVERTAKEN_SECONDS = 60.0


@dataclass(frozen=True)
class Steady:
    """Seconds that never run backwards: `now` is the moment of the newest event, on a scale of its own.

    `wall` and `uptime` are what the clocks say then, None before the first event.
    """

    now: float = 0.0
    wall: float | None = None
    uptime: float | None = None

    def after(self, event: Event) -> "Steady":
        """The moment of the next event.

        Told by the machine's monotonic clock where both have it; by the wall clock, steps back left out,
        where one has not, or the machine was started anew.
        """
        if self.wall is None:
            return Steady(event.time, event.time, event.uptime)
        passed, wall = event.time - self.wall, event.time
        if -_OVERTAKEN_SECONDS < passed < 0:
            wall = self.wall
        if self.uptime is not None and event.uptime is not None and event.uptime >= self.uptime:
            passed = event.uptime - self.uptime
        return Steady(self.now + max(0.0, passed), wall, event.uptime)

    def at(self, wall: float) -> float:
        """The moment of a wall clock that is read after the newest event."""
        return self.now if self.wall is None else self.now + max(0.0, wall - self.wall)
