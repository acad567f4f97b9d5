"""A worker without a model: it speaks real events through the real queue and answers real commands.

Its steps take no time by themselves; `eval_steps` milliseconds pass between two of them.
"""

import faulthandler
import os
import queue
import signal
import struct
import threading
import time
from pathlib import Path
from typing import Any

from kto_tui.core.commands import Command, new_command
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.core.events import (
    CheckpointSaved,
    CommandDone,
    DataReady,
    ModelLoaded,
    Progress,
    RunEnded,
    SaveReason,
    StageChanged,
    StepLogged,
)
from kto_tui.core.manifest import Manifest, describe, write_manifest

REASONS: dict[str, SaveReason] = {
    "checkpoint": "requested",
    "pause": "paused",
    "park": "paused",
    "stop": "stopped",
}


class FakeRun:
    def __init__(self, config: RunConfig, events: Any, commands: Any) -> None:
        self.config, self.events, self.commands = config, events, commands
        assert config.output_dir is not None
        self.directory = RunDirectory.at(config.output_dir)
        resumed = config.resume_from_checkpoint
        self.step = int(Path(resumed).name.split("-")[1]) if resumed else 0
        self.total = config.max_steps or 20

    def run(self) -> None:
        self.events.put(StageChanged(stage="loading_model"))
        self.events.put(
            ModelLoaded(
                name="fake",
                parameters=10,
                trainable_parameters=1,
                quantization="none",
                dtype="float32",
                device="cpu",
            )
        )
        self.events.put(
            DataReady(desirable=2, undesirable=2, examples=4, dropped=0, truncated=0, weights=(1.0, 1.0))
        )
        self.events.put(StageChanged(stage="training"))
        while self.step < self.total:
            time.sleep((self.config.eval_steps or 1) / 1000)
            self.step += 1
            self.events.put(
                StepLogged(
                    step=self.step,
                    total_steps=self.total,
                    epoch=0.1,
                    metrics={"loss": 0.5 - self.step / 1000, "rewards/margins": self.step / 100},
                )
            )
            if self.step % self.config.save_steps == 0:
                self.save("scheduled")
            while not self.commands.empty():
                if self.obey(self.commands.get()):
                    return
        self.events.put(RunEnded(status="completed", step=self.step, seconds=1))

    def save(self, reason: SaveReason) -> None:
        path = self.directory.checkpoint(self.step)
        path.mkdir(exist_ok=True)
        (path / "weights.bin").write_bytes(b"weights")
        files = describe(path)
        write_manifest(path, Manifest(step=self.step, reason=reason, time=time.time(), files=files))
        self.events.put(CheckpointSaved(step=self.step, path=str(path), bytes=10, seconds=0.1, reason=reason))

    def done(self, command: Command) -> None:
        self.events.put(CommandDone(id=command.id, command=command.command, outcome="done"))

    def obey(self, command: Command) -> bool:
        """Carry it out; True if the worker is to end."""
        if command.command == "resume":
            self.events.put(CommandDone(id=command.id, command="resume", outcome="rejected"))
            return False
        self.save(REASONS[command.command])
        if command.command == "park":
            self.events.put(StageChanged(stage="parked"))
            self.done(command)
            return True
        self.done(command)
        if command.command == "stop":
            self.events.put(RunEnded(status="stopped", step=self.step, seconds=1))
            return True
        if command.command == "pause":
            return self.hold()
        return False

    def hold(self) -> bool:
        self.events.put(StageChanged(stage="paused"))
        while True:
            try:
                command = self.commands.get(timeout=30)
            except queue.Empty:
                return True
            if command.command == "resume":
                self.events.put(StageChanged(stage="training"))
                self.done(command)
                return False
            if self.obey(command):
                return True


def main(config: RunConfig, events: Any, commands: Any) -> None:
    """Train nothing, truthfully."""
    FakeRun(config, events, commands).run()


def dies(config: RunConfig, events: Any, commands: Any) -> None:
    """Say that training begins, then be killed as by the kernel's out-of-memory killer."""
    events.put(StageChanged(stage="training"))
    events.close()
    events.join_thread()
    os.kill(os.getpid(), signal.SIGKILL)


def never_listens(config: RunConfig, events: Any, commands: Any) -> None:
    """Be busy for longer than anybody waits, as in a step that hangs."""
    events.put(StageChanged(stage="training"))
    events.put(StepLogged(step=1, total_steps=2, epoch=0, metrics={}))
    threading.Event().wait(600)


def deaf(config: RunConfig, events: Any, commands: Any) -> None:
    """End without having taken the request that is there."""
    events.put(StageChanged(stage="training"))
    commands.get(timeout=30)
    events.put(RunEnded(status="completed", step=1, seconds=1))


def dies_in_mid_sentence(config: RunConfig, events: Any, commands: Any) -> None:
    """Be killed with half a message in the pipe."""
    os.write(events._writer.fileno(), struct.pack("!i", 200) + b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)


def saves_then_refuses(config: RunConfig, events: Any, commands: Any) -> None:
    """Find the request wrong only later, as a model that is gone when a parked run is resumed."""
    run = FakeRun(config, events, commands)
    run.step = 7
    run.save("paused")
    refuses(config, events, commands)


def refuses(config: RunConfig, events: Any, commands: Any) -> None:
    """Find the request wrong."""
    error = UserError("model x: no such model")
    events.put(RunEnded(status="failed", step=0, seconds=0, error=str(error), exit_code=2))


def _say(events: Any, *said: Any) -> None:
    """Have events be out before what comes next."""
    for event in said:
        events.put(event)
    events.close()
    events.join_thread()


def dies_at_seven(config: RunConfig, events: Any, commands: Any) -> None:
    """Save step 5, and be killed after step 7; one that goes on from step 5 lives."""
    run = FakeRun(config, events, commands)
    if run.step:
        run.run()
        return
    events.put(StageChanged(stage="training"))
    run.step = 5
    run.save("scheduled")
    _say(events, StepLogged(step=7, total_steps=run.total, epoch=0, metrics={}))
    os.kill(os.getpid(), signal.SIGKILL)


def dies_always(config: RunConfig, events: Any, commands: Any) -> None:
    """Be killed before anything is done, each time."""
    _say(events, StageChanged(stage="loading_model"))
    os.kill(os.getpid(), signal.SIGKILL)


def fails_lastingly(config: RunConfig, events: Any, commands: Any) -> None:
    """An error that would only come again."""
    _say(events, RunEnded(status="failed", step=3, seconds=0, error="ValueError: no", exit_code=1))


def fails_passingly(config: RunConfig, events: Any, commands: Any) -> None:
    """An error of a disk or a device, at the same step each time."""
    failed = RunEnded(status="failed", step=3, seconds=0, error="OSError: no", exit_code=1, transient=True)
    _say(events, failed)


def loads_for_ever(config: RunConfig, events: Any, commands: Any) -> None:
    """Be in the middle of loading a model, where nobody listens."""
    events.put(StageChanged(stage="loading_model"))
    threading.Event().wait(600)


def saves_when_urged(config: RunConfig, events: Any, commands: Any) -> None:
    """Listen to an urgent stop only."""
    run = FakeRun(config, events, commands)
    run.step = 3
    events.put(StageChanged(stage="training"))
    while not (command := commands.get(timeout=60)).urgent:
        pass
    run.obey(command)


def stands_still(config: RunConfig, events: Any, commands: Any) -> None:
    """A few steps, then none, with a thread whose place in the code can be told; until somebody asks."""
    faulthandler.register(signal.SIGUSR2, file=RunDirectory(Path(str(config.output_dir))).log.open("a"))
    run = FakeRun(config, events, commands)
    events.put(StageChanged(stage="training"))
    for step in range(4):
        time.sleep(0.05)
        events.put(Progress(stage="training", done=step, total=9))
    waits_for_what_never_comes(commands)
    run.obey(new_command("stop"))


def waits_for_what_never_comes(commands: Any) -> None:
    commands.get(timeout=60)


def fails_and_stays(config: RunConfig, events: Any, commands: Any) -> None:
    """Say that a device failed, and hang as its driver does; the second one completes."""
    run = FakeRun(config, events, commands)
    if run.step:
        run.run()
        return
    events.put(StageChanged(stage="training"))
    run.step = 5
    run.save("scheduled")
    events.put(RunEnded(status="failed", step=5, seconds=0, error="CUDA error", exit_code=1, transient=True))
    threading.Event().wait(600)


def crashes_at_five(config: RunConfig, events: Any, commands: Any) -> None:
    """A library that crashes at the same step each time."""
    _say(events, StageChanged(stage="training"), StepLogged(step=5, total_steps=9, epoch=0, metrics={}))
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


def parks_while_it_loads(config: RunConfig, events: Any, commands: Any) -> None:
    """Park before training: one that wakes up parks again by itself, as it is asked to."""
    events.put(StageChanged(stage="loading_model"))
    while (command := commands.get(timeout=60)).command != "park":
        pass
    events.put(StageChanged(stage="parked"))
    _say(events, CommandDone(id=command.id, command="park", outcome="done"))


def refuses_the_second_time(config: RunConfig, events: Any, commands: Any) -> None:
    """Be killed, then find the data gone."""
    marker = RunDirectory(Path(str(config.output_dir))).path / "again"
    if marker.exists():
        refuses(config, events, commands)
        return
    marker.touch()
    _say(events, StageChanged(stage="training"))
    os.kill(os.getpid(), signal.SIGKILL)
