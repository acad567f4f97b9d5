"""The worker as the supervisor starts it: a spawned process with its own log, deaf to the terminal."""

import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import msgspec

import train_worker
from kto_tui.core.commands import new_command
from kto_tui.core.config import RunConfig
from kto_tui.core.events import CommandDone, Event, RunEnded, StageChanged, StepLogged
from tests.real_worker.harness import tiny

SECONDS = 90


def start(config: RunConfig) -> tuple[BaseProcess, Any, Any]:
    context = multiprocessing.get_context("spawn")
    events, commands = context.Queue(), context.Queue()
    process = context.Process(target=train_worker.main, args=(config, events, commands))
    process.start()
    return process, events, commands


def next_event(process: BaseProcess, events: Any) -> Event | None:
    """The next event, or None once the process is gone and nothing is left."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            event = events.get(timeout=0.2)
            assert isinstance(event, Event)
            return event
        except queue.Empty:
            if not process.is_alive() and events.empty():
                return None
    raise TimeoutError("the worker said nothing")


def test_a_run_is_steered_and_ctrl_c_is_not_its_business(tmp_path: Path) -> None:
    process, events, commands = start(tiny(tmp_path, max_steps=500))
    assert process.pid is not None
    heard: list[Event] = []
    while event := next_event(process, events):
        heard.append(event)
        if isinstance(event, StageChanged) and event.stage == "training" and len(heard) < 20:
            os.kill(process.pid, signal.SIGINT)
            os.kill(process.pid, signal.SIGHUP)
        if isinstance(event, StepLogged) and event.step == 2:
            commands.put(new_command("stop"))
    process.join(SECONDS)
    (reply,) = [event for event in heard if isinstance(event, CommandDone)]
    (ended,) = [event for event in heard if isinstance(event, RunEnded)]
    assert (ended.status, process.exitcode) == ("stopped", 0)
    assert reply.detail == f"checkpoint-{ended.step}"
    assert "'loss'" in (tmp_path / "out" / "run.log").read_text(encoding="utf-8")


def test_a_wrong_request_ends_with_code_2_and_one_line(tmp_path: Path) -> None:
    process, events, _ = start(tiny(tmp_path, model=str(tmp_path / "no" / "such")))
    heard = []
    while event := next_event(process, events):
        heard.append(event)
    process.join(SECONDS)
    assert process.exitcode == 2
    assert isinstance(heard[-1], RunEnded)
    assert heard[-1].error is not None
    assert "there is no such folder" in heard[-1].error
    assert "\n" not in heard[-1].error


def test_a_failure_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    """A checkpoint whose optimizer state is damaged."""
    from tests.real_worker.harness import sit

    sit(tiny(tmp_path, max_steps=1))
    checkpoint = tmp_path / "out" / "checkpoint-1"
    (checkpoint / "optimizer.pt").write_bytes(b"not a tensor")
    process, events, _ = start(tiny(tmp_path, resume_from_checkpoint=str(checkpoint)))
    heard = []
    while event := next_event(process, events):
        heard.append(event)
    process.join(SECONDS)
    assert process.exitcode == 1
    assert isinstance(heard[-1], RunEnded)
    assert heard[-1].status == "failed"
    assert "Traceback" in (tmp_path / "out" / "run.log").read_text(encoding="utf-8")


SUPERVISOR = """
import multiprocessing, os, sys
import msgspec
import train_worker
from kto_tui.core.config import RunConfig
from kto_tui.core.events import StepLogged

if __name__ == "__main__":
    config = msgspec.json.decode(sys.argv[1].encode(), type=RunConfig)
    context = multiprocessing.get_context("spawn")
    events, commands = context.Queue(), context.Queue()
    process = context.Process(target=train_worker.main, args=(config, events, commands))
    process.start()
    print(process.pid, flush=True)
    while not isinstance(events.get(timeout=90), StepLogged):
        pass
    os._exit(9)
"""


def test_a_worker_whose_supervisor_is_killed_saves_and_leaves(tmp_path: Path) -> None:
    config = tiny(tmp_path, max_steps=100_000)
    script = tmp_path / "supervisor.py"
    script.write_text(SUPERVISOR, encoding="utf-8")
    root = str(Path(train_worker.__file__).parent)
    done = subprocess.run(
        [sys.executable, str(script), msgspec.json.encode(config).decode()],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 9
    worker = int(done.stdout)
    deadline = time.monotonic() + SECONDS
    while _runs(worker):
        assert time.monotonic() < deadline, "the worker goes on without a supervisor"
        time.sleep(0.1)
    assert list((tmp_path / "out").glob("checkpoint-*/manifest.json"))
    assert "the supervisor is gone; saved checkpoint-" in (tmp_path / "out" / "run.log").read_text()


def _runs(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
