"""The owner of a run: starts the worker, writes the journal, forwards requests, notices the end."""

import queue
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from kto_tui.core.commands import Command, new_command
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory, checkpoint_step
from kto_tui.core.events import (
    CheckpointSaved,
    CommandDone,
    Event,
    GpuSampled,
    Progress,
    RunEnded,
    Stage,
    StageChanged,
    StepLogged,
)
from kto_tui.core.manifest import PassedOver, newest_whole, passed_over
from kto_tui.run.alerts import checkpoint_passed_over, worker_died
from kto_tui.run.asked import Asked
from kto_tui.run.gpu import make_sampler
from kto_tui.run.introduction import introduction
from kto_tui.run.lock import RunLock, wait_for_worker
from kto_tui.run.log import log_tail
from kto_tui.run.pulse import Watchman
from kto_tui.run.reconcile import untold
from kto_tui.run.record import Observer, Record
from kto_tui.run.registry import journaled_checkpoints, note_run
from kto_tui.run.requests import RequestReader
from kto_tui.run.restarts import Restarts
from kto_tui.run.signals import Signals
from kto_tui.run.worker import Inbox, WorkerEntry, WorkerExited, WorkerProcess, describe_exit

TICK_SECONDS = 0.2
SAMPLE_SECONDS = 2.0
CLOSING_SECONDS = 60.0
LEAVE_SECONDS = 2.0
# Signals by which a process ends for reasons of its own; the others come from outside.
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
_BEFORE_TRAINING = ("loading_model", "preparing_data", "caching_reference")


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
        self._stage: Stage | None = None
        self._parked = False
        self._asked = Asked(self._append)
        self._signals = Signals(config.grace_seconds)
        self._restarts = Restarts(config.auto_restart)
        self._restart_at: float | None = None
        self._failure: RunEnded | None = None
        self._leave_by: float | None = None
        self._left: Command | None = None
        self._kill_by: float | None = None
        self.workers = 0
        self._watchman = Watchman(self._directory.log)
        self._ended: RunEnded | None = None

    def run(self) -> RunEnded:
        """Live through the sitting and return its end. Raises UserError if the run is in use."""
        with (
            RequestReader(self._directory.commands) as self._requests,
            RunLock(self._directory.lock),
            Record(self._directory.events, self._observers) as self._record,
        ):
            self._signals.listen()
            note_run(self._directory)
            wait_for_worker(self._directory.worker_lock)
            try:
                self._record.announced = {saved.step for saved in journaled_checkpoints(self._directory)}
                newer = passed_over(self._directory, self._checkpoint) if self._checkpoint else []
                self._begin(self._checkpoint, newer)
                while self._ended is None:
                    self._turn()
            finally:
                self._let_worker_finish()
            return self._ended

    def _begin(self, checkpoint: Path | str | None, newer: Sequence[PassedOver]) -> None:
        """A sitting from this checkpoint on, or from the start; `newer` ones are damaged."""
        self._checkpoint = str(checkpoint) if checkpoint else None
        self._append(introduction(self._sample(None), self._checkpoint))
        self._start_worker(newer)

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

    def _start_worker(self, newer: Sequence[PassedOver] = ()) -> None:
        for event in untold(self._directory, self._record.announced):
            self._append(event)
        for damaged in newer:
            self._append(checkpoint_passed_over(damaged, self._checkpoint))
        config = msgspec.structs.replace(self._config, resume_from_checkpoint=self._checkpoint)
        self._worker = WorkerProcess(self._entry, config, self._inbox)
        self._worker.start()
        self.workers += 1
        self._stage = "loading_model"
        self._step = (checkpoint_step(Path(self._checkpoint)) or 0) if self._checkpoint else 0

    def _newest_checkpoint(self) -> tuple[Path | str | None, list[PassedOver]]:
        """What another worker goes on from: the newest that is whole, else what this sitting came from."""
        newest, newer = newest_whole(self._directory)
        return newest or self._config.resume_from_checkpoint, newer

    def _turn(self) -> None:
        """Wait for the worker a moment, then look at requests, signals, clocks and devices."""
        try:
            item = self._inbox.get(timeout=TICK_SECONDS)
        except queue.Empty:
            pass
        else:
            if isinstance(item, WorkerExited):
                self._on_exit(item.exit_code)
            else:
                self._on_event(item)
        for command in self._requests.read_commands():
            self._on_command(command)
        self._record.tell_of_requests(self._requests.problem)
        self._on_signals()
        self._on_time(time.monotonic())

    def _on_time(self, now: float) -> None:
        """What is due by the clock."""
        if self._ended is not None:
            return
        if self._signals.is_overdue(now):
            grace = f"--grace-seconds {self._config.grace_seconds:g}"
            self._end_at_once(f"SIGTERM: not saved within {grace}")
            return
        if self._leave_by is not None and now >= self._leave_by:
            self._leave_loading()
        if self._kill_by is not None and now >= self._kill_by and self._worker is not None:
            self._worker.kill()  # It has said its last word, and does not go.
        if self._restart_at is not None and now >= self._restart_at:
            self._restart_at = None
            self._begin(*self._newest_checkpoint())
        pid = self._worker.pid if self._worker else None
        if alert := self._watchman.look(pid):
            self._append(alert)
        if now >= self._next_sample:
            self._next_sample = now + SAMPLE_SECONDS
            self._append(GpuSampled(devices=self._sample(pid)))

    def _append(self, event: Event) -> None:
        self._record.append(event)

    # What the worker says

    def _on_event(self, event: Event) -> None:
        self._watchman.hear(event)
        match event:
            case RunEnded():
                if not self._stop_is_asked and self._restarts.may_follow(event, killed=False):
                    self._failure = event
                    self._kill_by = time.monotonic() + CLOSING_SECONDS
                else:
                    self._end(event)
                return
            case StageChanged():
                self._stage = event.stage
                self._parked = event.stage == "parked"
                if self._parked:
                    self._kill_by = time.monotonic() + CLOSING_SECONDS
                if event.stage == "training":
                    self._leave_by = None
                    self._asked.answer_waking("done", f"from {self._checkpoint}")
            case CheckpointSaved():
                self._checkpoint = event.path
                self._step = event.step
            case StepLogged():
                self._step = event.step
            case Progress(stage="training"):
                self._step = event.done
            case CommandDone():
                self._asked.forget(event.id)
            case _:
                pass
        self._append(event)

    def _on_exit(self, exit_code: int) -> None:
        self._worker, self._leave_by = None, None
        self._watchman.rest()
        self._kill_by = None
        left, self._left = self._left, None
        failure, self._failure = self._failure, None
        if self._parked:
            self._asked.answer_waking("rejected", "parked again")
            self._ask_again()
        elif failure is not None and not self._stop_is_asked:
            self._restart(failure)
        elif failure is not None:
            self._end(failure)
        elif left is not None:
            self._on_left(left)
        else:
            self._on_death(exit_code)

    def _on_death(self, exit_code: int) -> None:
        """The worker is gone without a word."""
        words = f"; its last words are in {self._directory.log}" if log_tail(self._directory.log, 1) else ""
        error = f"the worker {describe_exit(exit_code)}{words}"
        step = self._step
        failure = RunEnded(
            status="failed", step=step, seconds=0, error=error, exit_code=1, transient=exit_code < 0
        )
        killed = -exit_code not in _CRASHES
        if not self._stop_is_asked and self._restarts.may_follow(failure, killed=killed):
            self._restart(failure)
        else:
            self._end(failure)

    def _restart(self, failure: RunEnded) -> None:
        """Have another worker go on after a while. What was asked of the old one is not done."""
        self._asked.reject_all("the worker died", "the worker died; ask again once it is back")
        delay = self._restarts.next_delay(failure)
        self._restart_at = time.monotonic() + delay
        self._append(worker_died(failure, delay, self._restarts.describe(), saved=bool(self._checkpoint)))
        self._append(StageChanged(stage="restarting"))

    def _ask_again(self) -> None:
        """What the worker has left unanswered, now that it is gone for good reason."""
        for command in self._asked.all:
            self._on_command(command)

    def _end(self, event: RunEnded) -> None:
        """The last event of the sitting. A stop that a signal asked for exits with that signal's code."""
        self._asked.reject_all("the run ended", "the run ended")
        exit_code = event.exit_code
        if event.status == "stopped" and self._signals.first:
            exit_code = 128 + self._signals.first
        seconds = time.monotonic() - self._begun
        self._ended = msgspec.structs.replace(event, seconds=seconds, exit_code=exit_code)
        self._append(self._ended)

    # What is asked of the run

    def _on_command(self, command: Command) -> None:
        if self._ended is not None:
            return
        if self._worker is not None:
            self._asked.note(command)
            self._worker.send(command)
            if command.command in ("stop", "park") and self._leave_by is None:
                self._leave_by = time.monotonic() + self._signals.shortened(LEAVE_SECONDS)
        elif command.command == "stop":
            self._asked.answer(command, "done", self._what_is_left())
            self._end(RunEnded(status="stopped", step=self._step, seconds=0))
        elif not self._parked:
            self._asked.answer(
                command, "rejected", "the worker is about to be started again; ask once it is back"
            )
        elif command.command == "resume":
            self._asked.wake(command)
            self._parked = False
            checkpoint, newer = self._newest_checkpoint()
            self._checkpoint = str(checkpoint) if checkpoint else None
            self._start_worker(newer)
        else:
            self._asked.answer(command, "rejected", "the run is parked; resume it first")

    def _what_is_left(self) -> str:
        """What a run without a worker can be gone on from."""
        if self._parked:
            return f"parked at step {self._step}; nothing more to save"
        kept = [name.name for name in self._directory.checkpoints()[-1:]]
        return (
            f"the worker had died; {kept[0]} is there" if kept else "the worker had died; nothing was saved"
        )

    @property
    def _stop_is_asked(self) -> bool:
        return self._asked.to_stop() or self._signals.first is not None

    def _leave_loading(self) -> None:
        """A worker that has not trained yet has nothing to save: it is not waited for."""
        self._leave_by = None
        asked = self._asked.to_leave()
        if asked is not None and self._worker is not None and self._stage in _BEFORE_TRAINING:
            self._left = asked
            self._worker.kill()

    def _on_left(self, command: Command) -> None:
        """The worker was ended while it loaded, as was asked."""
        detail = "no step was taken in this sitting, so there is nothing new to save"
        if command.command == "stop":
            self._asked.answer(command, "done", detail)
            self._end(RunEnded(status="stopped", step=self._step, seconds=0))
            return
        self._parked = True
        self._asked.answer_waking("rejected", "parked again")
        self._append(StageChanged(stage="parked"))
        self._asked.answer(command, "done", detail)
        self._ask_again()

    def _on_signals(self) -> None:
        """The first signal asks for a checkpoint and the end; Ctrl+C once more ends the run at once.

        SIGTERM may come twice by itself (to the process and to its group): it never costs the work, but
        with a grace the step under way.
        """
        if self._ended is not None:
            return
        for wish in self._signals.wishes(stopping=self._asked.to_stop()):
            if self._ended is not None:
                return
            if wish == "end":
                self._end_at_once("ended at once, at a second Ctrl+C")
            else:
                self._on_command(wish)

    def _end_at_once(self, why: str) -> None:
        if self._worker is not None:
            self._worker.kill()
        loading = self._stage in _BEFORE_TRAINING
        error = why if self._parked or loading else f"{why}; steps since the last checkpoint are lost"
        self._end(RunEnded(status="stopped", step=self._step, seconds=0, error=error))
