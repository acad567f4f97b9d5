"""What a scenario is: a way to hurt a run, under a name."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.lab import Lab


@dataclass(frozen=True)
class Scenario:
    """`play` raises Broken where the run does not survive, Missed where the fault could not be placed.

    `kills`: kills that one play injects; of worker and supervisor at once, that is one. `repeat`: played
    again and again until the kills asked for are reached. `short`: part of `make test`.
    """

    name: str
    play: Callable[[Lab], None]
    kills: int = 0
    repeat: bool = False
    short: bool = False
