"""Starting a run: making its folder, and letting a supervisor live on its own."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.directory import RunDirectory, checkpoint_step
from kto_tui.core.errors import UserError
from kto_tui.run.lock import RunLock, in_use
from kto_tui.run.log import log_tail
from kto_tui.run.registry import is_alive

_START_SECONDS = 30.0


def check_output_dir(config: RunConfig) -> RunDirectory:
    """The run's folder, fit to start in. Nothing is created. Raises UserError."""
    assert config.output_dir is not None
    directory = RunDirectory.at(config.output_dir)
    _check_writable(directory.path)
    if is_alive(directory):
        raise in_use(directory.path)
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
    """Whether the checkpoint to go on from is this run's own: two runs in one folder would mix."""
    checkpoint = config.resume_from_checkpoint
    return checkpoint is not None and Path(checkpoint).resolve().parent == directory.path.resolve()


def _check_writable(path: Path) -> None:
    """Whether `path` is a folder one can write in, or could be made into one."""
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"--output-dir {path}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK) or os.statvfs(existing).f_flag & os.ST_RDONLY:
        raise UserError(f"--output-dir {path}: {existing} cannot be written; choose another folder")


def create(config: RunConfig, directory: RunDirectory) -> None:
    """Make the folder and write run.yaml. Raises UserError if a run is alive there, or was started since."""
    try:
        directory.path.mkdir(parents=True, exist_ok=True)
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


def _write_settings(config: RunConfig, path: Path) -> None:
    if not config.resume_from_checkpoint:
        with path.open("x", encoding="utf-8") as file:
            file.write(to_yaml(config))
        return
    beside = path.with_suffix(".new")
    beside.write_text(to_yaml(config), encoding="utf-8")
    beside.replace(path)


def discard(directory: RunDirectory) -> None:
    """Delete what a run wrote, and the folder if nothing else is in it."""
    if not directory.path.is_dir():
        return
    _empty(directory)
    directory.lock.unlink(missing_ok=True)
    if not any(directory.path.iterdir()):
        directory.path.rmdir()


def _empty(directory: RunDirectory) -> None:
    """Delete what a run wrote, but for its lock. What is not a run's stays."""
    for child in _folders(directory):
        if child.is_symlink():
            child.unlink()
        else:
            shutil.rmtree(child)
    for path in (directory.settings, directory.events, directory.commands, directory.log):
        path.unlink(missing_ok=True)


def _folders(directory: RunDirectory) -> list[Path]:
    """What is there under the names of a run's folders."""
    named = {directory.final_model, directory.base_model, directory.staging}
    children = sorted(directory.path.iterdir()) if directory.path.is_dir() else []
    return [
        child
        for child in children
        if child.is_dir() and (child in named or checkpoint_step(child) is not None)
    ]


def start_detached(directory: RunDirectory, resume_from: str | None) -> subprocess.Popen[bytes]:
    """Start a supervisor that survives this process and its terminal; return once it holds the run.

    What it and its libraries print goes to run.log. Raises UserError if it ends before.
    """
    command = [sys.executable, "-m", "kto_tui", "supervise"]
    if resume_from is not None:
        command += [f"--resume-from-checkpoint={resume_from}"]
    command += ["--", str(directory.path)]
    with directory.log.open("ab") as log:
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
