"""Who owns a run: an flock on run.lock, held for as long as its supervisor lives."""

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Self

from kto_tui.core.errors import UserError
from kto_tui.insight.view import attach_command


class RunLock:
    """The supervisor's hold on a run. The kernel lets it go when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock and write our process id into it. Raises UserError if another run holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _take(descriptor):
            os.close(descriptor)
            raise in_use(self._path.parent)
        os.set_inheritable(descriptor, False)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def in_use(path: Path) -> UserError:
    """What to say when somebody else's run lives in this folder."""
    return UserError(f"--output-dir {path}: a run is alive there; watch it with: {attach_command(path)}")


def _take(descriptor: int) -> bool:
    """Try for half a second: somebody who only looks whether the run is alive holds it for a moment."""
    deadline = time.monotonic() + 0.5
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)


def is_held(path: Path) -> bool:
    """Whether a live supervisor holds this lock file. A file that is missing or unreadable is not held."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        return True
    finally:
        os.close(descriptor)
