"""Checkpoints on disk: written beside their place, moved there whole, and the old ones removed.

A folder is written below `.staging/`, gets its manifest last, is synced, and is then renamed. So a
`checkpoint-N` that is there is whole, whatever happens to the process or the machine.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kto_tui.core.directory import MANIFEST_NAME, RunDirectory, checkpoint_step
from kto_tui.core.errors import one_line
from kto_tui.core.events import (
    AlertRaised,
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointSaved,
    SaveReason,
)
from kto_tui.training.emitter import Emitter
from kto_tui.training.rotation import Saved, surplus

STAGING_NAME = ".staging"
_CHUNK = 1 << 20


class WriteFailed(OSError):
    """A checkpoint could not be written; the message says why in one line."""


class CheckpointStore:
    """The checkpoints of one run. Keeps the newest `limit`, those that the user asked for, and the `best`."""

    def __init__(self, directory: RunDirectory, limit: int, emitter: Emitter, resumed: Path | None) -> None:
        self._directory = directory
        self._limit = limit
        self._emitter = emitter
        self._resumed = resumed
        self.last: Path | None = None
        self.best: Path | None = None

    @property
    def staging(self) -> Path:
        return self._directory.path / STAGING_NAME

    def clean(self) -> None:
        """Remove what an interrupted sitting left behind: staging, and checkpoints without a manifest.

        The checkpoint resumed from stays in any case: another program may have written it.
        """
        shutil.rmtree(self.staging, ignore_errors=True)
        kept = {path.resolve() for path in (*self._directory.checkpoints(), self._resumed) if path}
        for child in self._directory.path.iterdir():
            if child.is_dir() and checkpoint_step(child) is not None and child.resolve() not in kept:
                shutil.rmtree(child, ignore_errors=True)

    def save(self, step: int, reason: SaveReason, write: Callable[[], None]) -> None:
        """Have `write` fill `staging/checkpoint-<step>`, and put it in its place.

        `write` raises OSError where the disk fails it. A checkpoint that this sitting wrote for this very
        step is not written again, but kept from now on if that is asked for. Raises WriteFailed, after
        saying so in events; what was saved before is untouched.
        """
        final = self._directory.checkpoint(step)
        if self.last == final:
            if reason == "requested":
                self.pin_last()
            return
        began = time.monotonic()
        try:
            size = self._write(final, step, reason, write)
        except OSError as error:
            shutil.rmtree(self.staging, ignore_errors=True)
            self._report_failure(step, final, error)
            raise WriteFailed(one_line(error)) from error
        self.last = final
        seconds = time.monotonic() - began
        self._emitter.emit(
            CheckpointSaved(step=step, path=str(final), bytes=size, seconds=seconds, reason=reason)
        )
        self._rotate()

    def pin_last(self) -> None:
        """Keep this sitting's newest checkpoint, as one that the user asked for. Raises WriteFailed."""
        assert self.last is not None
        try:
            manifest = json.loads((self.last / MANIFEST_NAME).read_text(encoding="utf-8"))
            _put_manifest(self.last, {**manifest, "reason": "requested"})
        except (OSError, ValueError) as error:
            raise WriteFailed(one_line(error)) from error

    def _write(self, final: Path, step: int, reason: SaveReason, write: Callable[[], None]) -> int:
        shutil.rmtree(self.staging, ignore_errors=True)
        folder = self.staging / final.name
        folder.mkdir(parents=True)
        write()
        size = write_manifest(folder, step, reason)
        if final.exists():
            final.rename(self.staging / "replaced")
        folder.rename(final)
        sync_folder(final.parent)
        shutil.rmtree(self.staging, ignore_errors=True)
        return size

    def _report_failure(self, step: int, path: Path, error: BaseException) -> None:
        self._emitter.emit(CheckpointFailed(step=step, path=str(path), error=one_line(error)))
        self._emitter.emit(
            AlertRaised(
                kind="checkpoint_failed",
                severity="error",
                message=f"{path.name} could not be written: {one_line(error)}",
                advice="Training goes on. Make room on the disk, then ask for a checkpoint.",
                step=step,
            )
        )

    def _rotate(self) -> None:
        protected = {path for path in (self.last, None if self._newer_exists() else self._resumed) if path}
        for saved in surplus(self._saved(), self._limit, protected, self.best):
            self._delete(saved)

    def _newer_exists(self) -> bool:
        return self.last is not None and self.last != self._resumed

    def _saved(self) -> list[Saved]:
        return [read_manifest(path) for path in self._directory.checkpoints()]

    def _delete(self, saved: Saved) -> None:
        """Take the manifest first, so that a half-deleted folder never looks whole."""
        try:
            (saved.path / MANIFEST_NAME).unlink()
            shutil.rmtree(saved.path)
        except OSError as error:
            failed = CheckpointFailed(step=saved.step, path=str(saved.path), error=one_line(error))
            self._emitter.emit(failed)
            return
        self._emitter.emit(CheckpointDeleted(step=saved.step, path=str(saved.path)))


def write_manifest(folder: Path, step: int, reason: SaveReason) -> int:
    """Sync all files of `folder`, then write their sizes and SHA-256 beside them. Returns their bytes."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": _digest_and_sync(path)}
    manifest = {"step": step, "reason": reason, "time": time.time(), "files": files}
    _put_manifest(folder, manifest)
    return sum(entry["bytes"] for entry in files.values() if isinstance(entry["bytes"], int))


def _put_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Put it in its place by a rename, so that there is always a whole one or none."""
    beside = folder / f"{MANIFEST_NAME}.new"
    try:
        with beside.open("w", encoding="utf-8") as out:
            json.dump(manifest, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(folder / MANIFEST_NAME)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(folder)


def read_manifest(checkpoint: Path) -> Saved:
    """What a checkpoint's manifest says of it. A damaged manifest counts as an old scheduled one."""
    try:
        manifest = json.loads((checkpoint / MANIFEST_NAME).read_text(encoding="utf-8"))
        reason, written = manifest["reason"], float(manifest["time"])
    except (OSError, ValueError, KeyError, TypeError):
        reason, written = "scheduled", 0.0
    return Saved(path=checkpoint, step=checkpoint_step(checkpoint) or 0, reason=reason, time=written)


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` reach the disk, where the system can do that for folders."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest_and_sync(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb+") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        os.fsync(file.fileno())
    return digest.hexdigest()
