"""The worker as the supervisor starts it: a spawned process with its own log, deaf to the terminal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

import train_worker
from kto_tui.core.commands import new_command
from kto_tui.core.events import CommandDone, Event, RunEnded, StageChanged, StepLogged
from kto_tui.run.worker import WorkerProcess
from tests.real_worker.harness import sit, tiny, write_rows
from tests.real_worker.process import SECONDS, work
from tests.real_worker.test_hostile_checkpoint import sign


def test_a_run_is_steered_and_signals_are_not_its_business(tmp_path: Path) -> None:
    replies: list[CommandDone] = []

    def steer(event: Event, worker: WorkerProcess) -> None:
        assert worker.pid is not None
        if isinstance(event, StageChanged) and event.stage == "preparing_data":
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
                assert not _ignores(worker.pid, number), "what it starts would be deaf too"
                os.kill(worker.pid, number)
        if isinstance(event, StepLogged) and event.step == 2:
            worker.send(new_command("stop"))
        if isinstance(event, CommandDone):
            replies.append(event)

    heard, exit_code = work(tiny(tmp_path, max_steps=500), steer)
    ended = heard[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.status, ended.error, exit_code) == ("stopped", None, 0)
    assert [reply.detail for reply in replies] == [f"checkpoint-{ended.step}"]


@pytest.mark.slow
def test_the_log_keeps_to_what_matters(tmp_path: Path) -> None:
    """Steps stand in the journal; nobody can act on what the libraries warn of at every start."""
    evaluation = write_rows(tmp_path / "eval.jsonl", 9)
    _, exit_code = work(tiny(tmp_path, max_steps=2, eval_dataset=evaluation, quantization="nf4"))
    log = (tmp_path / "out" / "run.log").read_text(encoding="utf-8")
    assert exit_code == 0
    for noise in ("'loss'", "kernels-community", "had no length", "Traceback"):
        assert noise not in log


def test_a_wrong_request_ends_with_code_2_and_one_line(tmp_path: Path) -> None:
    heard, exit_code = work(tiny(tmp_path, model=str(tmp_path / "no" / "such")))
    assert exit_code == 2
    assert isinstance(heard[-1], RunEnded)
    assert heard[-1].error is not None
    assert "no such folder" in heard[-1].error
    assert "\n" not in heard[-1].error


@pytest.mark.slow
def test_a_failure_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    """A checkpoint that is signed, and whose weights overflow."""
    sit(tiny(tmp_path, max_steps=1))
    checkpoint = tmp_path / "out" / "checkpoint-1"
    file = checkpoint / "adapter_model.safetensors"
    save_file({name: torch.full_like(value, 1e30) for name, value in load_file(file).items()}, file)
    sign(checkpoint)
    heard, exit_code = work(tiny(tmp_path, max_steps=9, resume_from_checkpoint=str(checkpoint)))
    assert exit_code == 1
    assert isinstance(heard[-1], RunEnded)
    assert heard[-1].status == "failed"
    assert "Traceback" in (tmp_path / "out" / "run.log").read_text(encoding="utf-8")


SUPERVISOR = """
import os, queue, sys
import msgspec
import train_worker
from kto_tui.core.config import RunConfig
from kto_tui.core.events import StepLogged
from kto_tui.run.worker import WorkerProcess

if __name__ == "__main__":
    config = msgspec.json.decode(sys.argv[1].encode(), type=RunConfig)
    inbox = queue.SimpleQueue()
    worker = WorkerProcess(train_worker.main, config, inbox)
    worker.start()
    print(worker.pid, flush=True)
    while not isinstance(inbox.get(timeout=90), StepLogged):
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
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _ignores(pid: int, number: signal.Signals) -> bool:
    """Whether the process is set to ignore the signal, where the system tells."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return False
    (mask,) = [line for line in status.read_text().splitlines() if line.startswith("SigIgn:")]
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)
