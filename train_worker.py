"""The training process. The supervisor starts `main` in a process of its own and listens to its events."""

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    from kto_tui.core.commands import Command
    from kto_tui.core.events import Event


def main(config: RunConfig, events: "Queue[Event]", commands: "Queue[Command]") -> None:
    """Train as `config` says; ends the process with exit code 0, 1 (failed) or 2 (wrong request).

    `config` is resolved: output_dir exists, and resume_from_checkpoint is None or a checkpoint's path.
    Signals are the supervisor's to act on, and left to it by whoever starts this. What is printed goes to
    the run's log.
    """
    assert config.output_dir is not None
    _redirect(RunDirectory(Path(config.output_dir)).log)
    faulthandler.enable()
    # The supervisor asks so where the worker stands, also when Python itself does not get on.
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    supervisor = multiprocessing.parent_process()
    expected = supervisor.pid if supervisor is not None else os.getppid()

    from kto_tui.training.session import run

    code = run(config, events, commands, lambda: os.getppid() == expected, os._exit)
    _leave_hanging_trackers(code)
    if code:
        sys.exit(code)


def _leave_hanging_trackers(code: int) -> None:
    """End at once where a tracker's call never came back: the interpreter's own end may abort beside it."""
    if any(thread.name.startswith("tracker ") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(log: Path) -> None:
    """Nothing is read, and all that is printed, by any library or thread, is appended to the log."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(out)
