"""Several answers that grow by turns, a token each, on one model that can be only one of them at a time."""

import threading
from collections.abc import Callable, Sequence


class Turns:
    """Whose turn it is. Each name belongs to a thread, and every thread that is not over is served in order.

    `take` is called with the name whose turn begins, from its own thread.
    """

    def __init__(self, names: Sequence[str], take: Callable[[str], object]) -> None:
        self._waiting = list(names)
        self._take = take
        self._changed = threading.Condition()

    def begin(self, name: str) -> None:
        """Wait for the first turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting[0] == name)
        self._take(name)

    def pass_on(self, name: str) -> None:
        """Let the others have theirs, and wait for the next one."""
        with self._changed:
            if len(self._waiting) == 1:
                return
            self._waiting.append(self._waiting.pop(0))
            self._changed.notify_all()
        self.begin(name)

    def leave(self, name: str) -> None:
        """This one is over."""
        with self._changed:
            self._waiting.remove(name)
            self._changed.notify_all()
