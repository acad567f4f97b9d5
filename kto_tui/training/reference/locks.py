"""Locks that say who is alive. None of them ever waits; the kernel lets them go when a process ends."""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def lock(descriptor: int, *, exclusive: bool) -> bool:
    """Take a lock on an open file if nobody is in the way. False too where the file system has no locks."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def open_existing(path: Path) -> int:
    """A descriptor of a file that is there, read-only where it cannot be had otherwise. Raises OSError.

    Network file systems lock only what is open for writing. Without O_NONBLOCK, a named pipe in the folder
    would be waited for.
    """
    flags = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, os.O_RDWR | flags)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
    return os.open(path, os.O_RDONLY | flags)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether this open file is still the one of that name."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    return False
