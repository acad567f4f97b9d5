"""Finding runs again: below a folder, or by the note that each supervisor leaves of where its run lies."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import CheckpointSaved
from kto_tui.insight.state import RunState, Status, fold
from kto_tui.run.journal import JournalReader
from kto_tui.run.lock import is_held

_DEPTH = 4
_SKIPPED = {"node_modules", "site-packages", "__pycache__"}


@dataclass(frozen=True)
class RunSummary:
    """One run in a line. `margin` is rewards/margins as last logged; `updated` is seconds since the epoch."""

    directory: RunDirectory
    status: Status
    step: int
    total_steps: int | None
    margin: float | None
    checkpoints: int
    updated: float | None
    alive: bool


def is_alive(directory: RunDirectory) -> bool:
    """Whether a supervisor holds this run now."""
    return is_held(directory.lock)


def summarize(directory: RunDirectory) -> RunSummary:
    """What the journal and the lock say of a run."""
    alive = is_alive(directory)
    state = _told(directory.events)
    return RunSummary(
        directory=directory,
        status=state.status(alive),
        step=state.step,
        total_steps=state.total_steps,
        margin=state.latest.metrics.get("rewards/margins") if state.latest else None,
        checkpoints=len(directory.checkpoints()),
        updated=state.last_time,
        alive=alive,
    )


def journaled_checkpoints(directory: RunDirectory) -> tuple[CheckpointSaved, ...]:
    """The checkpoints that are there by what the journal says, oldest first."""
    return _told(directory.events).checkpoints


def _told(journal: Path) -> RunState:
    """The state that a journal tells, read in parts. One that may not be read tells nothing."""
    state = RunState()
    with contextlib.suppress(PermissionError), JournalReader(journal) as reader:
        while events := reader.read_events():
            state = fold(events, state)
    return state


def find_runs(root: Path) -> Iterator[RunDirectory]:
    """Every run at or below a folder, a few levels deep; hidden folders are passed over."""
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop(0)
        directory = RunDirectory(folder)
        if directory.events.is_file() or directory.settings.is_file():
            yield directory
        elif depth < _DEPTH:
            pending += [(child, depth + 1) for child in _subfolders(folder)]


def _subfolders(folder: Path) -> list[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []  # A folder that may not be read holds no run that could be shown.
    return [
        Path(entry.path)
        for entry in entries
        if entry.is_dir(follow_symlinks=False) and entry.name[0] != "." and entry.name not in _SKIPPED
    ]


def newest_live_run(root: Path) -> RunDirectory | None:
    """The live run that was started last, below `root` or anywhere on this machine."""
    candidates = {str(run.path.resolve()): run for run in (*find_runs(root), *_noted_runs())}
    live = [run for run in candidates.values() if is_alive(run)]
    return max(live, key=lambda run: run.lock.stat().st_mtime, default=None)


def note_run(directory: RunDirectory) -> None:
    """Leave a note of where this run lies, so that it is found from any folder.

    A convenience: where the user's state folder cannot be written, the run is found by its own path.
    """
    path = os.fsencode(directory.path.resolve())
    folder = _notes_folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(path).hexdigest()[:16]).write_bytes(path)


def _noted_runs() -> Iterator[RunDirectory]:
    folder = _notes_folder()
    with contextlib.suppress(OSError):  # A note may go while it is read: it was of a run that went.
        for note in sorted(folder.iterdir()):
            directory = RunDirectory.at(os.fsdecode(note.read_bytes()))
            if directory.holds_run():
                yield directory
            else:
                note.unlink(missing_ok=True)


def _notes_folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "kto-tui" / "runs"
