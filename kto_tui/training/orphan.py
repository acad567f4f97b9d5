"""A worker whose supervisor is gone: it notices within a second or two, saves what it can, and goes too."""

import faulthandler
import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 600.0
_ORPHANED = 1


class Watch:
    """Looks after the supervisor from a thread of its own, whatever the main one is busy with.

    `supervisor_alive` is asked every second. Once it says no: where `may_save` says that there is nothing to
    save, the process ends at once. Else the main thread leaves its step and saves; a process that is still
    there after PATIENCE_SECONDS ends all the same, since a GPU is not to be held by what nobody watches.
    `give_up` ends the process, from any thread.
    """

    def __init__(
        self,
        supervisor_alive: Callable[[], bool],
        may_save: Callable[[], bool],
        give_up: Callable[[int], object],
    ) -> None:
        self._alive = supervisor_alive
        self._may_save = may_save
        self._give_up = give_up
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="supervisor watch", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while self._alive():
            if self._over.wait(LOOK_SECONDS):
                return
        logger.error("the supervisor is gone; what was trained is saved, then the worker ends")
        began = time.monotonic()
        while self._may_save() and time.monotonic() - began < PATIENCE_SECONDS:
            if self._over.wait(LOOK_SECONDS):
                return
        if self._may_save():
            logger.error("the worker stood still for %.0f s after that; where:", PATIENCE_SECONDS)
            faulthandler.dump_traceback(all_threads=True)
        else:
            logger.error("nothing was trained, so there is nothing to save")
        self._give_up(_ORPHANED)
