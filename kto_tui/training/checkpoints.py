"""Checkpoints on disk: written beside their place, moved there whole, read back, and the old ones removed.

A folder is written below `.staging/`, gets its manifest last, is synced, and is then renamed. So a
`checkpoint-N` that is there is whole, whatever happens to the process or the machine.
"""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from kto_tui.core.directory import RunDirectory, checkpoint_step
from kto_tui.core.errors import one_line
from kto_tui.core.events import (
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointPinned,
    CheckpointSaved,
    SaveReason,
)
from kto_tui.core.manifest import (
    REPLACED,
    Damaged,
    Manifest,
    describe,
    put_back_replaced,
    read_manifest,
    sync_folder,
    verify,
    write_manifest,
)
from kto_tui.training.emitter import Emitter
from kto_tui.training.rotation import Saved, surplus
from kto_tui.training.space import check_space, save_failed


class WriteFailed(OSError):
    """A checkpoint could not be written; the message says why in one line."""


class CheckpointStore:
    """The checkpoints of one run. Keeps the newest `limit`, those that the user asked for, and the `best`.

    `keep_requested`: False has those asked for by key rotate like all others.
    """

    def __init__(
        self,
        directory: RunDirectory,
        limit: int,
        emitter: Emitter,
        resumed: Path | None,
        *,
        keep_requested: bool = True,
    ) -> None:
        self._directory = directory
        self._limit = limit
        self._emitter = emitter
        self._resumed = resumed
        self._keep_requested = keep_requested
        self._passed_over = frozenset(self._newer_than_resumed())
        self._last_bytes: int | None = None
        self.last: Path | None = None
        self.best: Path | None = None

    @property
    def staging(self) -> Path:
        return self._directory.staging

    @property
    def newest(self) -> Path | None:
        """What a resume would take: the newest of this sitting, else what the sitting goes on from."""
        return self.last or self._resumed

    def clean(self) -> None:
        """Put right what an interrupted sitting left behind: staging, and checkpoints without a manifest.

        The checkpoint resumed from stays in any case: another program may have written it.
        """
        put_back_replaced(self._directory)
        shutil.rmtree(self.staging, ignore_errors=True)
        kept = {path.resolve() for path in (*self._directory.checkpoints(), self._resumed) if path}
        for child in self._directory.path.iterdir():
            if child.is_dir() and checkpoint_step(child) is not None and child.resolve() not in kept:
                shutil.rmtree(child, ignore_errors=True)

    def save(self, step: int, reason: SaveReason, write: Callable[[], None], needed_bytes: int = 0) -> None:
        """Have `write` fill `staging/checkpoint-<step>`, put it in its place, and read it back.

        `write` raises OSError where the disk fails it; `needed_bytes` is what the first is likely to take. A
        checkpoint that this sitting wrote for this very step is not written again, but kept from now on if
        that is asked for. Raises WriteFailed, after saying so in events; what was saved before is untouched.
        """
        final = self._directory.checkpoint(step)
        if self.last == final:
            if reason == "requested":
                self.pin_last()
            return
        began = time.monotonic()
        needed_bytes = self._last_bytes or needed_bytes
        try:
            check_space(self._directory.path, needed_bytes)
            size = self._write(final, step, reason, write)
        except (OSError, Damaged) as error:
            self._undo()
            self._report_failure(step, final, error, needed_bytes)
            raise WriteFailed(_in_words(error)) from error
        self.last, self._last_bytes = final, size
        seconds = time.monotonic() - began
        self._emitter.emit(
            CheckpointSaved(step=step, path=str(final), bytes=size, seconds=seconds, reason=reason)
        )
        self.rotate()

    def pin_last(self) -> None:
        """Keep this sitting's newest checkpoint, as one that the user asked for. Raises WriteFailed."""
        assert self.last is not None
        try:
            manifest = read_manifest(self.last)
            if manifest.reason == "requested":
                return
            write_manifest(self.last, msgspec.structs.replace(manifest, reason="requested"))
        except (OSError, Damaged) as error:
            raise WriteFailed(_in_words(error)) from error
        self._emitter.emit(CheckpointPinned(step=manifest.step, path=str(self.last)))

    def _write(self, final: Path, step: int, reason: SaveReason, write: Callable[[], None]) -> int:
        """Write a checkpoint and move it to its place; what lay there is gone only once it was read back."""
        shutil.rmtree(self.staging, ignore_errors=True)
        folder = self.staging / final.name
        folder.mkdir(parents=True)
        write()
        manifest = Manifest(step=step, reason=reason, time=self._later(), files=describe(folder))
        for parent in [path for path in folder.rglob("*") if path.is_dir()]:
            sync_folder(parent)
        write_manifest(folder, manifest)
        self._forget_cached(folder)
        verify(folder)
        if final.exists():
            final.rename(self.staging / f"{REPLACED}{final.name}")
        folder.rename(final)
        sync_folder(final.parent)
        shutil.rmtree(self.staging, ignore_errors=True)
        return sum(entry.bytes for entry in manifest.files.values())

    def _forget_cached(self, folder: Path) -> None:
        """Have what is read back come from the disk and not from memory, where the system takes the hint."""
        if not hasattr(os, "posix_fadvise"):
            return
        for path in (path for path in folder.rglob("*") if path.is_file()):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)

    def _undo(self) -> None:
        """Bring back what was moved aside, and remove the rest."""
        try:
            put_back_replaced(self._directory)
        except OSError:
            return  # What lies aside stays there: the next start tries again.
        shutil.rmtree(self.staging, ignore_errors=True)

    def _later(self) -> float:
        """Now, or where the clock was set back, a moment after the newest one: rotation goes by age."""
        now = time.time()
        try:
            newest = max((saved.time for saved in self._saved()), default=now)
        except OSError:
            return now
        return max(now, newest + 0.001)

    def _report_failure(self, step: int, path: Path, error: OSError | Damaged, needed_bytes: int) -> None:
        words = _in_words(error)
        self._emitter.emit(CheckpointFailed(step=step, path=str(path), error=words))
        self._emitter.emit(save_failed(step, path, error, words, needed_bytes))

    def rotate(self) -> None:
        """Delete what is beyond the limit. To be called once a whole checkpoint is there."""
        protected = {path for path in (self.last, None if self._newer_exists() else self._resumed) if path}
        try:
            going = surplus(self._saved(), self._limit, protected, self.best)
        except OSError as error:
            self._report_deletion(
                self._directory.path, checkpoint_step(self.last or self._directory.path) or 0, error
            )
            return
        for saved in going:
            self._delete(saved)

    def _newer_exists(self) -> bool:
        return self.last is not None and self.last != self._resumed

    def _newer_than_resumed(self) -> list[Path]:
        """Those that a resume passed over, since they are damaged: a whole one would have been taken."""
        resumed = self._resumed
        if resumed is None or resumed.resolve().parent != self._directory.path.resolve():
            return []
        step = checkpoint_step(resumed) or 0
        return [path for path in self._directory.checkpoints() if (checkpoint_step(path) or 0) > step]

    def _saved(self) -> list[Saved]:
        """All checkpoints as rotation sees them; one that cannot be read is left alone. Raises OSError."""
        saved = (self._as_saved(path) for path in self._directory.checkpoints())
        return [each for each in saved if each is not None]

    def _as_saved(self, path: Path) -> Saved | None:
        step = checkpoint_step(path) or 0
        try:
            manifest = read_manifest(path)
        except Damaged as damage:
            return None if damage.unreadable else Saved(path, step, "scheduled", 0.0, damaged=True)
        rotates = manifest.reason == "requested" and not self._keep_requested
        reason: SaveReason = "scheduled" if rotates else manifest.reason
        saved = Saved(path, step, reason, manifest.time)
        return saved if path == self.last or path not in self._passed_over else _looked_at(saved)

    def _delete(self, saved: Saved) -> None:
        """Move it away first, so that a half-deleted folder never looks whole."""
        try:
            self.staging.mkdir(exist_ok=True)
            saved.path.rename(self.staging / f"old-{saved.path.name}")
            shutil.rmtree(self.staging)
        except OSError as error:
            self._report_deletion(saved.path, saved.step, error)
            return
        self._emitter.emit(CheckpointDeleted(step=saved.step, path=str(saved.path)))

    def _report_deletion(self, path: Path, step: int, error: OSError) -> None:
        problem = f"older checkpoints could not be deleted: {_in_words(error)}"
        self._emitter.emit(CheckpointFailed(step=step, path=str(path), error=problem))


def _looked_at(saved: Saved) -> Saved | None:
    """A checkpoint that a resume passed over: damaged, whole after all, or (None) still not to be read."""
    try:
        verify(saved.path)
    except Damaged as damage:
        return None if damage.unreadable else replace(saved, damaged=True)
    return saved


def _in_words(error: OSError | Damaged) -> str:
    if isinstance(error, Damaged):
        return str(error)
    return one_line(error) if error.strerror is None else error.strerror
