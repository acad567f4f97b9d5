"""A real run as the outside has it: a command line, processes, and a folder."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

import kto_tui
from kto_tui.core.commands import CommandName, append_command, new_command
from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import AnyEvent, Event, RunStarted, StageChanged, StepLogged
from kto_tui.run.journal import JournalReader

EventT = TypeVar("EventT", bound=Event)

PROJECT = Path(kto_tui.__file__).parents[1]
MARK = "KTO_TUI_FAULTS_RUN"
PATIENCE_SECONDS = 120.0
GONE_SECONDS = 10.0
LOOK_SECONDS = 0.001


class Broken(AssertionError):
    """The run did not survive: what was expected of it, and what was found."""


class Missed(Exception):
    """The moment to inject a fault at did not come, or was over before anybody saw it."""


@dataclass(frozen=True)
class Settings:
    """What a run trains; equal ones have to end in equal weights."""

    options: tuple[str, ...] = ()
    max_steps: int = 40
    save_steps: int = 5
    save_total_limit: int = 3

    def arguments(self) -> list[str]:
        return [
            *("--model-size", "tiny", "--max-length", "64", "--logging-steps", "1", "--batch-size", "4"),
            *("--max-steps", str(self.max_steps), "--save-steps", str(self.save_steps)),
            *("--save-total-limit", str(self.save_total_limit)),
            *self.options,
        ]


def wait_until(true: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> float:
    """Look until it is so, every millisecond; returns the seconds that took. Raises Broken."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > seconds:
            raise Broken(f"{what}: not so after {seconds:g} s")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began


class Run:
    """One run directory, and whatever processes work on it. Caches and notes lie in `folder` too."""

    def __init__(self, folder: Path, settings: Settings, rows: Path, output: Path | None = None) -> None:
        self.folder, self.settings = folder, settings
        self.directory = RunDirectory(output or folder / "out")
        self.supervisor: subprocess.Popen[bytes] | None = None
        self._rows = rows
        self._mark = uuid.uuid4().hex
        self._starts = 0
        self._reader = JournalReader(self.directory.events)
        self._events: list[AnyEvent] = []
        self._from = 0
        self._worker: psutil.Process | None = None

    # Starting

    def start(self, *more: str) -> None:
        """A fresh run of the settings."""
        self._launch(*self.settings.arguments(), "--dataset", str(self._rows), *more)

    def resume(self, *more: str) -> None:
        """Go on from the newest checkpoint."""
        self._launch("--resume-from-checkpoint", "latest", *more)

    def start_anew(self) -> None:
        """As the dashboard advises where no checkpoint was saved. The old journal goes with the old run."""
        old = self._first_line()
        settings = self.folder / "settings.yaml"
        settings.write_bytes(self.directory.settings.read_bytes())
        self._launch("--overwrite", "--config", str(settings))
        self.wait_for(lambda run: run._first_line() not in (b"", old), "a new journal is begun")
        self.forget_journal()

    def _first_line(self) -> bytes:
        """The first line of the journal, which names its run; empty while there is none."""
        try:
            with self.directory.events.open("rb") as journal:
                line = journal.readline()
        except FileNotFoundError:
            return b""
        return line if line.endswith(b"\n") else b""

    def forget_journal(self) -> None:
        """Read it anew from its beginning at the next look; until then it is not kept open."""
        self._reader.close()
        self._reader, self._events, self._from = JournalReader(self.directory.events), [], 0

    def recover(self, *more: str) -> None:
        """What its user would do after a crash."""
        if self.directory.checkpoints():
            self.resume(*more)
        elif self.directory.settings.is_file():
            self.start_anew()
        else:
            self.start(*more)

    def _launch(self, *arguments: str) -> None:
        self._worker = None
        self._from = len(self.events)
        self.supervisor = self.command("--no-ui", *arguments, "--output-dir", str(self.directory.path))

    def command(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`kto-tui` with these arguments, in a session of its own; its output goes to the newest `output`."""
        self._starts += 1
        with self._output_file(self._starts).open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "kto_tui", *arguments],
                cwd=PROJECT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            MARK: self._mark,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }

    # Looking

    def _output_file(self, number: int) -> Path:
        return self.folder / f"printed-{number}.txt"

    @property
    def output(self) -> str:
        """What the command that was started last has printed."""
        return self._output_file(self._starts).read_text(encoding="utf-8", errors="replace")

    @property
    def events(self) -> list[AnyEvent]:
        """The journal up to now."""
        self._events += self._reader.read_events()
        return self._events

    def of(self, kind: type[EventT]) -> list[EventT]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def sitting(self) -> list[AnyEvent]:
        """The journal since the newest `run_started` of the command that was started last."""
        events = self.events[self._from :]
        begun = [index for index, event in enumerate(events) if isinstance(event, RunStarted)]
        return events[begun[-1] :] if begun else []

    @property
    def step(self) -> int:
        """The newest step of this sitting; 0 before its first."""
        return next((event.step for event in reversed(self.sitting) if isinstance(event, StepLogged)), 0)

    @property
    def stage(self) -> str | None:
        return next((e.stage for e in reversed(self.sitting) if isinstance(e, StageChanged)), None)

    @property
    def over(self) -> bool:
        return self.supervisor is None or self.supervisor.poll() is not None

    def wait_for(self, true: Callable[["Run"], bool], what: str, seconds: float = PATIENCE_SECONDS) -> float:
        """Look until it is so; Broken if the run ends before, or takes too long."""
        took = wait_until(lambda: true(self) or self.over, what, seconds)
        if not true(self):
            assert self.supervisor is not None
            words = " | ".join(self.output.strip().splitlines()[-6:])
            raise Broken(f"{what}: the run ended with {self.supervisor.returncode} before: {words}")
        return took

    def end(self, seconds: float = PATIENCE_SECONDS) -> int:
        """The exit code, once the command has ended."""
        assert self.supervisor is not None
        try:
            return self.supervisor.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Broken(f"the run did not end within {seconds:g} s; stage {self.stage}") from None

    # Processes

    def worker(self) -> psutil.Process:
        """The worker that is there now; waits for one that is being started."""
        if self._worker is None or not _lives(self._worker):
            self.wait_for(lambda run: run._find_worker(), "a worker is started")
        assert self._worker is not None
        return self._worker

    def _find_worker(self) -> bool:
        assert self.supervisor is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.supervisor.pid).children():
                if is_worker(child) and _lives(child):
                    self._worker = child
                    return True
        return False

    def processes(self) -> list[psutil.Process]:
        """Everything alive that this run has ever started, also what no parent knows of any more."""
        if self.supervisor is not None:
            self.supervisor.poll()
        return [process for process in psutil.process_iter() if _lives(process) and self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self._mark
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False

    def wait_until_gone(self, seconds: float = GONE_SECONDS) -> float:
        """The seconds until no process of the run is left. Raises Broken."""
        began = time.monotonic()
        while left := self.processes():
            if time.monotonic() - began > seconds:
                words = ", ".join(f"{p.pid} ({p.status()})" for p in left)
                raise Broken(f"after {seconds:g} s there are still processes of the run: {words}")
            time.sleep(0.02)
        return time.monotonic() - began

    def end_all(self) -> None:
        """Leave nothing behind, whatever has happened."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
                process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.supervisor is not None:
                self.supervisor.wait(GONE_SECONDS)
        self._reader.close()

    # Faults and requests

    def kill_worker(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Returns the process id that was hit."""
        worker = self.worker()
        worker.send_signal(number)
        return worker.pid

    def kill_supervisor(self, number: signal.Signals = signal.SIGKILL) -> None:
        assert self.supervisor is not None
        self.supervisor.send_signal(number)

    def kill_both(self, *, worker_first: bool = True) -> None:
        worker = self.worker()
        killers = [worker.kill, self.kill_supervisor]
        for kill in killers if worker_first else reversed(killers):
            kill()
        self.end()

    def ask(self, name: CommandName) -> str:
        """Request this of the run; returns the id of the request."""
        command = new_command(name)
        append_command(self.directory.commands, command)
        return command.id


def is_worker(process: psutil.Process) -> bool:
    """Whether it was spawned to train; Python's own helper, which tracks shared resources, was not."""
    try:
        return any("spawn_main" in word for word in process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def plain(text: str) -> str:
    """Printed text on one line, without the frame of the table."""
    return re.sub(r"[\s│|]+", " ", text)
