"""What supervisor, journal and table cost: a step under `--no-ui` against the trainer called directly."""

import queue
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import psutil

from benchmarks.measure import in_turns, report
from kto_tui.core.events import Event, StepLogged
from kto_tui.core.resolve import resolve
from kto_tui.run.journal import read_journal

_ROUNDS = 5
_STEPS = 200
_OPTIONS = {"model_size": "tiny", "max_steps": str(_STEPS), "save_steps": "50"}


def no_ui_against_direct() -> None:
    """Prints seconds a step of both, and the supervisor's largest memory."""
    memory: list[int] = []
    found = in_turns(_ROUNDS, lambda: under_no_ui(memory), called_directly)
    report("a step under --no-ui", found, "the same trainer called directly", "within 1.02")
    print(f"supervisor's memory: {max(memory) / 1e6:.1f} MB resident at most (aim: under 60 MB)")


def under_no_ui(memory: list[int]) -> float:
    """Seconds a step of a real run; the supervisor's resident bytes go to `memory`."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--{name.replace('_', '-')}={value}" for name, value in _OPTIONS.items()]
        command = [sys.executable, "-m", "kto_tui", "--no-ui", *options, f"--output-dir={folder}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            supervisor = psutil.Process(process.pid)
            while process.poll() is None:
                memory.append(supervisor.memory_info().rss)
                try:
                    process.wait(timeout=1)
                except subprocess.TimeoutExpired:
                    continue
        return seconds_a_step(read_journal(Path(folder) / "events.jsonl"))


def called_directly() -> float:
    """Seconds a step without supervisor, journal and table, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.steps"], check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])


def seconds_a_step(events: Iterable[Event]) -> float:
    """From the first logged step to the last."""
    logged = [event for event in events if isinstance(event, StepLogged)]
    return (logged[-1].time - logged[0].time) / (logged[-1].step - logged[0].step)


class KeptEvents(queue.Queue[Event]):
    """Stands where the queue to a supervisor would."""

    def close(self) -> None:
        """Nothing to close."""

    join_thread = cancel_join_thread = close


def _train_here() -> None:
    from kto_tui.training.session import run

    events = KeptEvents()
    with tempfile.TemporaryDirectory() as folder:
        code = run(resolve({**_OPTIONS, "output_dir": folder}), events, queue.Queue(), lambda: True)
    assert code == 0
    sys.stdout.write(f"{seconds_a_step(list(events.queue))}\n")


if __name__ == "__main__":
    _train_here()
