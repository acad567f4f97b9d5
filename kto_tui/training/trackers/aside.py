"""A thread that makes one tracker's calls, in their order. It may hang for good; nobody waits for it then."""

import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable

from kto_tui.core.errors import one_line

logger = logging.getLogger(__name__)

_SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_LOGIN_IN_ADDRESS = re.compile(r"//[^/@\s]+@")
_SHORTEST_SECRET = 6
_LONGEST_REASON = 300

Call = Callable[[], None]


class Aside:
    """Calls on their way to a tracker. `problem` says why it was given up, once it was."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problem: str | None = None
        self._given_up = False
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)

    def post(self, call: Call) -> None:
        """Have `call` made once those before it are done. Nothing where the tracker was given up."""
        if self.problem is None:
            self._calls.put(call)
            if not self._thread.ident:
                self._thread.start()

    def give_up(self, why: str) -> None:
        """Make no further call. The one under way goes on in its thread."""
        self.problem = self.problem or why
        self._given_up = True
        self._calls.put(None)

    def hangs(self, seconds: float) -> bool:
        """Whether the call under way has taken longer than that."""
        since = self._busy_since
        return since is not None and time.monotonic() - since > seconds

    def end(self, deadline: float) -> bool:
        """Wait for all calls until `deadline`, by time.monotonic. False where some are not done then.

        For one that was given up nothing is waited.
        """
        self._calls.put(None)
        if self._thread.ident and not self._given_up:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None and self.problem is None:
            self._busy_since = time.monotonic()
            try:
                call()
            except (Exception, SystemExit) as error:  # noqa: BLE001
                self.problem = self.problem or harmless(one_line(error))
                logger.warning("tracker %s: %s", self.name, self.problem)
            self._busy_since = None


def harmless(reason: str) -> str:
    """A library's message without logins in addresses and without values of secret variables."""
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name) and len(value) >= _SHORTEST_SECRET:
            reason = reason.replace(value, f"${name}")
    return _LOGIN_IN_ADDRESS.sub("//", reason)[:_LONGEST_REASON]
