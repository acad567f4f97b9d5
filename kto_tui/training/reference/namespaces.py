"""The folders of the namespaces: made for one user alone, held while in use, deleted to keep to a limit."""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kto_tui.training.reference.locks import is_at, lock
from kto_tui.training.reference.segments import SUFFIX, UNFINISHED, delete_abandoned

LOCK_NAME = "in-use.lock"
_ATTEMPTS = 5


@dataclass(frozen=True)
class Namespace:
    """One of the folders below `reference`. `used_at`: when a run last opened it, seconds since the epoch."""

    path: Path
    size_bytes: int
    used_at: float


def hold(folder: Path) -> int | None:
    """Make the folder, mark it as used now, and as in use until the returned descriptor is closed.

    None where that cannot be marked; somebody may then delete the folder, which costs no more than its
    content. Raises OSError where the folder cannot be made or written to.
    """
    path = folder / LOCK_NAME
    for _ in range(_ATTEMPTS):
        make_private(folder)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        # Whoever deletes the folder has the lock, or has already deleted the file.
        if lock(descriptor, exclusive=False) and is_at(descriptor, path):
            with suppress(OSError):  # Where the folder is another user's, that user's runs count alone.
                os.utime(folder)
            return descriptor
        os.close(descriptor)
    return None


def make_private(folder: Path) -> None:
    """Make the folder and those above it where they are missing, for this user alone. Raises OSError."""
    if folder.is_dir():
        return
    if os.path.lexists(folder):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if folder.parent != folder:
        make_private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def namespaces(reference: Path) -> list[Namespace]:
    """All of them, the least recently used first. Folders without our lock file are not ours."""
    found = [
        _measured(Path(entry.path)) for entry in _entries(reference) if entry.is_dir(follow_symlinks=False)
    ]
    return sorted((n for n in found if n), key=lambda n: (n.used_at, n.path.name))


def make_room(reference: Path, keep: Path, limit_bytes: int) -> int:
    """Delete namespaces that nobody uses, least recently used first, down to the limit.

    `keep` stays in any case. Returns the bytes that all of them hold then.
    """
    found = namespaces(reference)
    total = sum(namespace.size_bytes for namespace in found)
    for namespace in found:
        if total > limit_bytes and namespace.path != keep:
            total -= _delete(namespace.path)
    return total


def _measured(folder: Path) -> Namespace | None:
    with suppress(OSError):
        if (folder / LOCK_NAME).is_file():
            size = sum(entry.stat(follow_symlinks=False).st_size for entry in _ours(folder))
            return Namespace(folder, size, folder.stat().st_mtime)
    return None


def _delete(folder: Path) -> int:
    """All that is ours in a namespace, and the folder, if nobody uses it. Returns the bytes freed."""
    path, freed = folder / LOCK_NAME, 0
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if lock(descriptor, exclusive=True) and is_at(descriptor, path):
                freed = sum(delete_abandoned(Path(entry.path)) for entry in _ours(folder))
                if not _ours(folder):
                    path.unlink()
                    folder.rmdir()
        finally:
            os.close(descriptor)
    return freed


def _ours(folder: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in _entries(folder) if entry.name.endswith((SUFFIX, SUFFIX + UNFINISHED))]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder: nothing where it cannot be read."""
    with suppress(OSError), os.scandir(folder) as entries:
        return list(entries)
    return []
