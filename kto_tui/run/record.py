"""What is said of a run: to its journal first, then to whoever looks on from this process."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from kto_tui.core.events import CheckpointDeleted, CheckpointSaved, Event
from kto_tui.run.alerts import journal_waits, requests_not_taken
from kto_tui.run.journal import JournalWriter

Observer = Callable[[Event], None]


class Record:
    """The journal of a run and the observers of this sitting. Raises OSError if it cannot be opened.

    `announced`: steps of the checkpoints that are there by what was said.
    """

    def __init__(self, path: Path, observers: Sequence[Observer]) -> None:
        self._journal = JournalWriter(path, clock=time.monotonic)
        self.observers = observers
        self.announced: set[int] = set()
        self._told_of_journal = self._told_of_requests = False

    def append(self, event: Event) -> None:
        """Write the event and show it. A disk that takes nothing is told of once each time."""
        self._tell(event)
        waits = self._journal.problem is not None
        if waits and not self._told_of_journal:
            self._told_of_journal = True
            self._tell(journal_waits(self._journal.problem or ""))
        elif not waits:
            self._told_of_journal = False

    def tell_of_requests(self, problem: str | None) -> None:
        """Say once that requests are not taken, and why; None: they are."""
        if problem is not None and not self._told_of_requests:
            self.append(requests_not_taken(problem))
        self._told_of_requests = problem is not None

    def _tell(self, event: Event) -> None:
        event = self._journal.append(event)
        if isinstance(event, CheckpointSaved):
            self.announced.add(event.step)
        elif isinstance(event, CheckpointDeleted):
            self.announced.discard(event.step)
        for observe in self.observers:
            observe(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
