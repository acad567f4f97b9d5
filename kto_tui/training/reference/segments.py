"""Segment files: each is appended to by one process, which holds its lock for as long as it lives."""

import errno
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from kto_tui.training.reference.format import header
from kto_tui.training.reference.locks import is_at, lock, open_existing

SUFFIX = ".refs"
UNFINISHED = ".new"
FULL_BYTES = 64 << 20  # A writer then begins another one.
MAX_BYTES = 1 << 30
_AGE_DIGITS = 20


def segment_files(folder: Path) -> list[os.DirEntry[str]]:
    """The segments of a namespace, oldest first; no entries where the folder cannot be read."""
    with suppress(OSError), os.scandir(folder) as entries:
        return sorted((e for e in entries if e.name.endswith(SUFFIX)), key=lambda entry: entry.name)
    return []


class SegmentWriter:
    """A new segment of this process. It bears its name, and is seen by others, once it is published.

    Published only after it is locked and begun, it is never taken for one that nobody owns. `like`: the name
    of the segment whose age it takes on; else it is the youngest. All methods but close raise OSError.
    """

    def __init__(self, folder: Path, seal: bytes, like: str = "") -> None:
        name = _new_name(like)
        self.path = folder / name
        self._beside = folder / (name + UNFINISHED)
        self._published = False
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(self._beside, flags, 0o600)
        # Where locks do not work nobody can take this one either, and so it is left alone all the same.
        lock(self._descriptor, exclusive=True)
        try:
            self.append(header(seal))
        except OSError:
            self.close()
            raise

    @classmethod
    def publish_in(cls, folder: Path, seal: bytes) -> Self:
        """A segment that is seen at once."""
        writer = cls(folder, seal)
        try:
            writer.publish()
        except OSError:
            writer.close()
            raise
        return writer

    def append(self, data: bytes) -> None:
        """Add whole records. What a full disk cuts off is taken back, so that the rest may follow later."""
        size, left = self.size, memoryview(data)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            # A reader finds its way past the torn piece too, where it cannot be taken back.
            with suppress(OSError):
                os.ftruncate(self._descriptor, size)
            raise

    def publish(self, *, synced: bool = False) -> None:
        """Give it its name. `synced`: once its content has reached the disk."""
        if synced:
            os.fsync(self._descriptor)
        os.rename(self._beside, self.path)
        self._published = True

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    @property
    def finished(self) -> bool:
        """Whether what comes next belongs in another one: it is full, or somebody has deleted the file."""
        return not is_at(self._descriptor, self.path) or self.size >= FULL_BYTES

    def close(self) -> None:
        """Let go of it. One that was not published is gone then."""
        if not self._published:
            with suppress(OSError):
                os.unlink(self._beside)
        # Of what a network file system cannot write in the end, readers find out.
        with suppress(OSError):
            os.close(self._descriptor)


class SegmentReader:
    """A segment of anybody's.

    `abandoned`: nobody appends to it any more, and it may be replaced or deleted before this reader lets go.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.abandoned = lock(descriptor, exclusive=True) and is_at(descriptor, path)

    def read(self, start: int = 0) -> bytes:
        """What it holds from this byte on. Raises OSError, also where it is too large to be one of ours."""
        if os.fstat(self._descriptor).st_size > MAX_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(self.path))
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(start)
            return file.read()


@contextmanager
def reading(path: Path) -> Iterator[SegmentReader]:
    """A segment, open for reading. Raises OSError."""
    descriptor = open_existing(path)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not an ordinary file", str(path))
        yield SegmentReader(path, descriptor)
    finally:
        os.close(descriptor)


def delete_abandoned(path: Path) -> int:
    """Delete a file that nobody appends to. Returns the bytes that this has freed, 0 if it is still there."""
    with suppress(OSError), reading(path) as segment:
        if segment.abandoned:
            size = path.stat().st_size
            path.unlink()
            return size
    return 0


def _new_name(like: str) -> str:
    """When it was begun, by which host and process, and a random part. Names sort by age."""
    age = like[:_AGE_DIGITS]
    if not re.fullmatch(rf"\d{{{_AGE_DIGITS}}}", age, re.ASCII):
        age = f"{time.time_ns():0{_AGE_DIGITS}d}"
    host = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname())[:32]
    return f"{age}-{host}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
