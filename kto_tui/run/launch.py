"""Starting a run: making its folder, and letting a supervisor live on its own."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.directory import MERGED_MARKER, RunDirectory, checkpoint_step
from kto_tui.core.errors import UserError
from kto_tui.run.lock import RunLock, in_use, wait_for_worker
from kto_tui.run.log import log_tail
from kto_tui.run.registry import is_alive

_START_SECONDS = 30.0
_NOT_FOR_OTHERS = 0o022
_FOLDER_MODE, _FILE_MODE = 0o755, 0o644


def check_output_dir(config: RunConfig) -> RunDirectory:
    """The run's folder, fit to start in. Nothing is created. Raises UserError."""
    assert config.output_dir is not None
    directory = RunDirectory.at(config.output_dir)
    _check_writable(directory.path)
    if is_alive(directory):
        raise in_use(directory.path)
    _check_links(directory)
    wait_for_worker(directory.worker_lock)
    if directory.holds_run():
        if not (config.overwrite or _resumes(config, directory)):
            raise UserError(
                f"--output-dir {directory.path}: holds a run already; go on with "
                "--resume-from-checkpoint latest, choose another --output-dir, or delete it with --overwrite"
            )
    elif strangers := [path.name for path in _folders(directory)]:
        raise UserError(
            f"--output-dir {directory.path}: holds {strangers[0]}, which no run of kto-tui wrote; "
            "choose another --output-dir"
        )
    return directory


def _resumes(config: RunConfig, directory: RunDirectory) -> bool:
    """Whether the checkpoint to go on from is this run's own, or the only one: two runs would mix."""
    checkpoint = config.resume_from_checkpoint
    if checkpoint is None:
        return False
    return Path(checkpoint).resolve().parent == directory.path.resolve() or not directory.checkpoints()


def _check_writable(path: Path) -> None:
    """Whether `path` is a folder one can write in, or could be made into one."""
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"--output-dir {path}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK) or os.statvfs(existing).f_flag & os.ST_RDONLY:
        raise UserError(f"--output-dir {path}: {existing} cannot be written; choose another folder")


def narrow_umask() -> None:
    """Nothing that this process or its children make may be written by others, whatever the umask."""
    os.umask(os.umask(_NOT_FOR_OTHERS) | _NOT_FOR_OTHERS)


def create(config: RunConfig, directory: RunDirectory) -> None:
    """Make the folder and write run.yaml. Raises UserError if a run is alive there, or was started since."""
    try:
        _make(directory.path)
        _check_links(directory)
        with RunLock(directory.lock):
            if config.overwrite and directory.holds_run():
                _empty(directory)
            _write_settings(config, directory.settings)
    except FileExistsError:
        raise UserError(f"--output-dir {directory.path}: another run was started there just now") from None
    except OSError as error:
        raise UserError(
            f"--output-dir {directory.path}: cannot be written: {error.strerror or error}"
        ) from None


def _make(folder: Path) -> None:
    """The folder and those above it, each for its owner alone to write."""
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        _make(folder.parent)
    try:
        folder.mkdir(_FOLDER_MODE)
    except FileExistsError:
        if not folder.is_dir():
            raise


def _check_links(directory: RunDirectory) -> None:
    """Refuse what would have a run write into files and folders outside of its own. Raises UserError."""
    files = (directory.settings, directory.events, directory.commands, directory.lock, directory.log)
    for path in (*files, directory.staging):
        odd = os.path.lexists(path) and not (path.is_dir() if path == directory.staging else path.is_file())
        if odd or path.is_symlink():
            kind = "a link" if path.is_symlink() else "of another kind"
            raise UserError(
                f"--output-dir {directory.path}: {path.name} is {kind}, which no run of kto-tui makes; "
                "remove it, or choose another --output-dir"
            )


def _write_settings(config: RunConfig, path: Path) -> None:
    """Whole or not at all; exclusively for a new run, while a run that goes on has its settings replaced."""
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    _write_new(beside, to_yaml(config))
    if config.resume_from_checkpoint:
        beside.replace(path)
        return
    try:
        os.link(beside, path)
    finally:
        beside.unlink()


def _write_new(path: Path, text: str) -> None:
    """Never through a link, and never into a file that is there. Raises FileExistsError, OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def discard(directory: RunDirectory) -> None:
    """Delete what a run wrote, and the folder if nothing else is in it."""
    if not directory.path.is_dir():
        return
    _empty(directory)
    directory.lock.unlink(missing_ok=True)
    directory.worker_lock.unlink(missing_ok=True)
    if not directory.path.is_symlink() and not any(directory.path.iterdir()):
        directory.path.rmdir()


def _empty(directory: RunDirectory) -> None:
    """Delete what a run wrote, but for its lock. What is not a run's stays."""
    for child in _folders(directory):
        if child.is_symlink():
            child.unlink()
        else:
            shutil.rmtree(child)
    files = (directory.settings, directory.events, directory.commands, directory.log, directory.trackers)
    for path in files:
        path.unlink(missing_ok=True)


def _folders(directory: RunDirectory) -> list[Path]:
    """What is there under the names of a run's folders."""
    copies = (directory.base_model, directory.reference_adapter)
    halves = (copy.with_name(f"{copy.name}.new") for copy in copies)  # Of copies that were cut off.
    named = {directory.final_model, *copies, *halves, directory.staging, *directory.tracked}
    if (directory.merged_model / MERGED_MARKER).is_file():
        named.add(directory.merged_model)
    children = sorted(directory.path.iterdir()) if directory.path.is_dir() else []
    return [
        child
        for child in children
        if child.is_dir() and (child in named or checkpoint_step(child) is not None)
    ]


def start_detached(
    directory: RunDirectory, resume_from: str | None, *, allow_changed: bool = False
) -> subprocess.Popen[bytes]:
    """Start a supervisor that survives this process and its terminal; return once it holds the run.

    `allow_changed`: --allow-changed-settings, which run.yaml does not keep.
    What it and its libraries print goes to run.log. Raises UserError if it ends before.
    """
    command = [sys.executable, "-m", "kto_tui", "supervise"]
    if resume_from is not None:
        command += [f"--resume-from-checkpoint={resume_from}"]
    if allow_changed:
        command += ["--allow-changed-settings"]
    command += ["--", str(directory.path)]
    with _open_log(directory) as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + _START_SECONDS
    while not is_alive(directory):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            words = "".join(log_tail(directory.log, 1))
            if resume_from is None:
                discard(directory)
            raise UserError(f"the run did not start; its last words: {words}")
        time.sleep(0.02)
    return process


def _open_log(directory: RunDirectory) -> BinaryIO:
    """run.log, to be added to. Raises UserError where it is a link or cannot be written."""
    # Without waiting: the opening of a pipe that nobody reads would not return.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(directory.log, flags, _FILE_MODE)
    except OSError as error:
        raise UserError(
            f"--output-dir {directory.path}: {directory.log.name} cannot be written: {error.strerror}"
        ) from None
    return open(descriptor, "ab")
