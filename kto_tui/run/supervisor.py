"""The owner of a run: starts the worker, writes the journal, forwards requests, notices the end."""

import platform
import queue
import signal
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Literal

import msgspec

from kto_tui.core.commands import Command, decode_command, new_command
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import (
    CheckpointSaved,
    CommandDone,
    Event,
    GpuSampled,
    RunEnded,
    RunStarted,
    StageChanged,
    StepLogged,
)
from kto_tui.run.gpu import make_sampler
from kto_tui.run.journal import JournalWriter, LineFollower
from kto_tui.run.lock import RunLock
from kto_tui.run.registry import note_run
from kto_tui.run.worker import Inbox, WorkerEntry, WorkerExited, WorkerProcess

Observer = Callable[[Event], None]
Outcome = Literal["done", "rejected"]
TICK_SECONDS = 0.2
SAMPLE_SECONDS = 2.0
CLOSING_SECONDS = 60.0
_LIBRARIES = ("kto-tui", "torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate")


class Supervisor:
    """One sitting of a run, from taking its lock to `run_ended`.

    `entry` is the worker's main; `observers` are called with each event once it is in the journal.
    """

    def __init__(self, config: RunConfig, entry: WorkerEntry, observers: Sequence[Observer] = ()) -> None:
        assert config.output_dir is not None
        self._config = config
        self._directory = RunDirectory.at(config.output_dir)
        self._entry = entry
        self._observers = observers
        self._inbox: Inbox = queue.SimpleQueue()
        self._worker: WorkerProcess | None = None
        self._sample = make_sampler()
        self._next_sample = 0.0
        self._begun = time.monotonic()
        self._step = 0
        self._checkpoint = config.resume_from_checkpoint
        self._parked = False
        self._waking: Command | None = None
        self._unanswered: dict[str, Command] = {}
        self._signals: list[int] = []
        self._signals_seen = 0
        self._ended: RunEnded | None = None

    def run(self) -> RunEnded:
        """Live through the sitting and return its end. Raises UserError if the run is in use."""
        with (
            LineFollower(self._directory.commands, from_end=True) as self._requests,
            RunLock(self._directory.lock),
            JournalWriter(self._directory.events) as self._journal,
        ):
            self._listen()
            note_run(self._directory)
            try:
                self._append(self._introduction())
                self._start_worker()
                while self._ended is None:
                    self._turn()
            finally:
                self._let_worker_finish()
            return self._ended

    def _let_worker_finish(self) -> None:
        """Whatever ended the sitting, a worker that is still there saves its work before it goes.

        If the supervisor itself has failed, that may take a step: only a signal cuts it short.
        """
        if self._worker is None:
            return
        if self._ended is None:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            self._worker.send(new_command("stop"))
        self._worker.wait(None if self._ended is None else CLOSING_SECONDS)
        self._worker.kill()

    def _listen(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _frame: self._signals.append(number))

    def _introduction(self) -> RunStarted:
        versions = {name: metadata.version(name) for name in _LIBRARIES}
        return RunStarted(
            run_id=uuid.uuid4().hex[:12],
            versions={"python": platform.python_version(), **versions},
            host=socket.gethostname(),
            devices=tuple(device.name for device in self._sample(None)),
            resumed_from=self._config.resume_from_checkpoint,
        )

    def _start_worker(self) -> None:
        config = msgspec.structs.replace(self._config, resume_from_checkpoint=self._checkpoint)
        self._worker = WorkerProcess(self._entry, config, self._inbox)
        self._worker.start()

    def _turn(self) -> None:
        """Wait for the worker a moment, then look at requests, signals and devices."""
        try:
            item = self._inbox.get(timeout=TICK_SECONDS)
        except queue.Empty:
            pass
        else:
            if isinstance(item, WorkerExited):
                self._on_exit(item.exit_code)
            else:
                self._on_event(item)
        for line in self._requests.read_new():
            if command := decode_command(line):
                self._on_command(command)
        self._on_signals()
        if time.monotonic() >= self._next_sample and self._ended is None:
            self._next_sample = time.monotonic() + SAMPLE_SECONDS
            worker = self._worker.pid if self._worker else None
            self._append(GpuSampled(devices=self._sample(worker)))

    def _append(self, event: Event) -> None:
        event = self._journal.append(event)
        for observe in self._observers:
            observe(event)

    # What the worker says

    def _on_event(self, event: Event) -> None:
        match event:
            case RunEnded():
                self._end(event)
                return
            case StageChanged():
                self._parked = event.stage == "parked"
                if event.stage == "training":
                    self._answer_waking("done", f"from {self._checkpoint}")
            case CheckpointSaved():
                self._checkpoint = event.path
                self._step = event.step
            case StepLogged():
                self._step = event.step
            case CommandDone():
                self._unanswered.pop(event.id, None)
            case _:
                pass
        self._append(event)

    def _on_exit(self, exit_code: int) -> None:
        self._worker = None
        if self._parked:
            for command in list(self._unanswered.values()):
                self._on_command(command)
            return
        error = f"the worker {_cause(exit_code)}; its last words are in {self._directory.log}"
        self._end(RunEnded(status="failed", step=self._step, seconds=0, error=error, exit_code=1))

    def _end(self, event: RunEnded) -> None:
        """The last event of the sitting. A stop that a signal asked for exits with that signal's code."""
        self._answer_waking("rejected", "the run ended")
        for command in list(self._unanswered.values()):
            self._answer(command, "rejected", "the run ended")
        exit_code = event.exit_code
        if event.status == "stopped" and self._signals:
            exit_code = 128 + self._signals[0]
        seconds = time.monotonic() - self._begun
        self._ended = msgspec.structs.replace(event, seconds=seconds, exit_code=exit_code)
        self._append(self._ended)

    # What is asked of the run

    def _on_command(self, command: Command) -> None:
        if self._ended is not None:
            return
        if self._worker is not None:
            self._unanswered[command.id] = command
            self._worker.send(command)
        elif command.command == "resume":
            self._unanswered.pop(command.id, None)
            self._waking, self._parked = command, False
            self._start_worker()
        elif command.command == "stop":
            self._answer(command, "done", f"parked at step {self._step}; nothing more to save")
            self._end(RunEnded(status="stopped", step=self._step, seconds=0))
        else:
            self._answer(command, "rejected", "the run is parked; resume it first")

    def _answer(self, command: Command, outcome: Outcome, detail: str) -> None:
        self._unanswered.pop(command.id, None)
        self._append(CommandDone(id=command.id, command=command.command, outcome=outcome, detail=detail))

    def _answer_waking(self, outcome: Outcome, detail: str) -> None:
        if self._waking is not None:
            command, self._waking = self._waking, None
            self._answer(command, outcome, detail)

    def _on_signals(self) -> None:
        """The first signal asks for a checkpoint and the end; Ctrl+C once more ends the run at once.

        SIGTERM may come twice by itself (to the process and to its group): it never costs the work.
        """
        seen, self._signals_seen = self._signals_seen, len(self._signals)
        if seen == self._signals_seen or self._ended is not None:
            return
        if seen == 0:
            self._on_command(new_command("stop"))
        elif signal.SIGINT in self._signals[seen:]:
            self._end_at_once()

    def _end_at_once(self) -> None:
        if self._worker is not None:
            self._worker.kill()
        error = "ended at once, at a second Ctrl+C; steps since the last checkpoint are lost"
        self._end(RunEnded(status="stopped", step=self._step, seconds=0, error=error))


def _cause(exit_code: int) -> str:
    """How a process ended, in words."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code} and without a word"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"
