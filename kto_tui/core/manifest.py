"""What a checkpoint says of its own files, and whether that is still true. No torch: anybody may ask."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from kto_tui.core.directory import MANIFEST_NAME, RunDirectory, checkpoint_step
from kto_tui.core.events import SaveReason

REPLACED = "replaced-"
_LARGEST = 16 << 20


class Damaged(Exception):
    """A checkpoint is not what its manifest says; the message says in which way, without the folder.

    `unreadable`: only reading failed, so that the files may be as they were written.
    """

    def __init__(self, problem: str, *, unreadable: bool = False) -> None:
        super().__init__(problem)
        self.unreadable = unreadable


class FileEntry(msgspec.Struct, frozen=True):
    """One file as it was written."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All files of a checkpoint by their path below it. `time`: seconds since the epoch."""

    step: int
    reason: SaveReason
    time: float
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class PassedOver:
    """A checkpoint that cannot be gone on from, and why."""

    path: Path
    problem: str


def read_manifest(checkpoint: Path) -> Manifest:
    """The manifest of a checkpoint. Raises Damaged."""
    path = checkpoint / MANIFEST_NAME
    try:
        with _opened(path) as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise Damaged(f"{MANIFEST_NAME} is too large")
        json.loads(text, object_pairs_hook=_unique)
        manifest = msgspec.json.decode(text, type=Manifest)
    except FileNotFoundError:
        raise Damaged(f"no {MANIFEST_NAME}") from None
    except OSError as error:
        problem = f"{MANIFEST_NAME} cannot be read: {error.strerror or error}"
        raise Damaged(problem, unreadable=True) from None
    except (ValueError, RecursionError):  # Both decoders' errors are ValueErrors.
        raise Damaged(f"{MANIFEST_NAME} is damaged") from None
    if not manifest.files or not all(map(_stays_inside, manifest.files)):
        raise Damaged(f"{MANIFEST_NAME} is damaged")
    return manifest


def verify(checkpoint: Path) -> Manifest:
    """Read every file of a checkpoint; returns its manifest. Raises Damaged if one was changed since."""
    manifest = read_manifest(checkpoint)
    for name, entry in manifest.files.items():
        _verify_file(checkpoint / name, name, entry)
    return manifest


def problem_of(checkpoint: Path) -> str | None:
    """Why this checkpoint cannot be gone on from; None if it can."""
    try:
        verify(checkpoint)
    except Damaged as damage:
        return str(damage)
    return None


def newest_whole(directory: RunDirectory) -> tuple[Path | None, list[PassedOver]]:
    """The newest checkpoint that is as it was written, and the newer ones that are not."""
    passed_over: list[PassedOver] = []
    for checkpoint in reversed(directory.checkpoints()):
        problem = problem_of(checkpoint)
        if problem is None:
            return checkpoint, passed_over
        passed_over.append(PassedOver(checkpoint, problem))
    return None, passed_over


def passed_over(directory: RunDirectory, taken: str | Path) -> list[PassedOver]:
    """The checkpoints of this run that are newer than the one taken, which is whole: so they are damaged."""
    step = checkpoint_step(Path(taken))
    if step is None or Path(taken).resolve().parent != directory.path.resolve():
        return []
    newer = [path for path in directory.checkpoints() if (checkpoint_step(path) or 0) > step]
    return [PassedOver(path, problem) for path in reversed(newer) if (problem := problem_of(path))]


def put_back_replaced(directory: RunDirectory) -> None:
    """Bring back a checkpoint whose worker died while it put another one in its place.

    To be called only while no worker of the run is there. Raises OSError.
    """
    for old in directory.staging.glob(f"{REPLACED}*"):
        final = directory.path / old.name.removeprefix(REPLACED)
        if not final.exists():
            old.rename(final)


def describe(folder: Path) -> dict[str, FileEntry]:
    """The files below a folder as they are now, each of them synced to the disk. Raises OSError."""
    return {path.relative_to(folder).as_posix(): _described(path) for path in sorted(_files(folder))}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put it in its place by a rename, so that there is always a whole one or none. Raises OSError."""
    beside = folder / f"{MANIFEST_NAME}.new"
    plain: dict[str, Any] = msgspec.to_builtins(manifest)
    try:
        with beside.open("w", encoding="utf-8") as out:
            json.dump(plain, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(folder / MANIFEST_NAME)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names if name != MANIFEST_NAME)


def _described(path: Path) -> FileEntry:
    with path.open("rb+") as file:
        digest = hashlib.file_digest(file, hashlib.sha256).hexdigest()
        os.fsync(file.fileno())
        return FileEntry(os.fstat(file.fileno()).st_size, digest)


def _verify_file(path: Path, name: str, entry: FileEntry) -> None:
    try:
        with _opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != entry.bytes:
                raise Damaged(f"{name} has {size} bytes instead of {entry.bytes}")
            digest = hashlib.file_digest(file, hashlib.sha256).hexdigest()
    except FileNotFoundError:
        raise Damaged(f"{name} is missing") from None
    except OSError as error:
        raise Damaged(f"{name} cannot be read: {error.strerror or error}", unreadable=True) from None
    if digest != entry.sha256:
        raise Damaged(f"{name} is not what was written (its SHA-256 differs)")


def _opened(path: Path) -> BufferedReader:
    """A regular file to read. Raises OSError for anything else: a pipe would be waited for without end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file")
    return file


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ: a flipped bit can turn one name into another, and hide a file."""
    named = dict(pairs)
    if len(named) != len(pairs):
        raise ValueError("a key stands twice")
    return named


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
