"""Who owns a run: an flock on run.lock, held for as long as its supervisor lives."""

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import Self

from kto_tui.core.errors import UserError
from kto_tui.insight.view import attach_command

# How often somebody may replace the file while we lock it.
_ATTEMPTS = 100
WORKER_SECONDS = 60.0
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class RunLock:
    """The supervisor's hold on a run. The kernel lets it go when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock and write our process id into it, for a person who looks.

        What a process that died left in the file means nothing. Raises UserError if another run holds
        it, or it is no file of ours.
        """
        for _ in range(_ATTEMPTS):
            self._descriptor = _open(self._path)
            if not _take(self._descriptor):
                break
            if _is_at(self._descriptor, self._path):
                return self._sign(self._descriptor)
            self.release()
        self.release()
        raise in_use(self._path.parent)

    def _sign(self, descriptor: int) -> None:
        with contextlib.suppress(OSError):  # Opened for reading only, or the disk is full: held all the same.
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())

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


def wait_for_worker(lock: Path, seconds: float = WORKER_SECONDS) -> None:
    """Return once no worker is left here: one whose supervisor died may still be saving.

    Raises UserError if it takes too long.
    """
    deadline = time.monotonic() + seconds
    while is_held(lock):
        if time.monotonic() > deadline:
            raise UserError(
                f"--output-dir {lock.parent}: the worker of a run that died is still there, and may be "
                "saving; try again in a while, or end it"
            )
        time.sleep(0.1)


def in_use(path: Path) -> UserError:
    """What to say when somebody else's run lives in this folder."""
    return UserError(f"--output-dir {path}: a run is alive there; watch it with: {attach_command(path)}")


def _open(path: Path) -> int:
    """The lock file, made if it is not there; read only where it cannot be written."""
    try:
        descriptor = _open_to_write(path)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_file(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_file(path)
    return descriptor


def _open_to_write(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | _SAFELY, 0o666)
    except PermissionError:
        try:
            return os.open(path, os.O_RDONLY | _SAFELY)
        except PermissionError:
            raise UserError(
                f"{path}: it may not be opened, so that nobody can tell whether a run is alive there; "
                "make it readable with chmod, or choose another --output-dir"
            ) from None


def _no_file(path: Path) -> UserError:
    return UserError(f"{path}: it is no plain file; remove it, or choose another --output-dir")


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the file that was locked still lies there: one that was deleted guards nothing."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _take(descriptor: int) -> bool:
    """Try for half a second: somebody who only looks whether the run is alive holds it for a moment."""
    deadline = time.monotonic() + 0.5
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)


def is_held(path: Path) -> bool:
    """Whether a live supervisor holds this lock file. A file that is missing or unreadable is not held."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _SAFELY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # A file system without locks holds none.
        return False
    finally:
        os.close(descriptor)
    return False
