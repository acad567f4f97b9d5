"""The main job in a real terminal with a real worker: start, steer, lose the terminal, attach, end."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import CheckpointSaved, CommandDone, RunEnded
from kto_tui.insight.state import fold
from kto_tui.run.journal import read_journal
from kto_tui.run.registry import is_alive
from tests.run.test_supervisor import ask, wait_until
from tests.terminal.tmux import Terminal, needs_tmux

pytestmark = [pytest.mark.terminal, pytest.mark.worker, needs_tmux]

KTO_TUI = Path(sys.executable).with_name("kto-tui")
START = f"{KTO_TUI} --model-size tiny --max-steps 100000 --save-steps 1000 --output-dir run"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[RunDirectory]:
    """The folder of a run that is stopped at the end of the test, whatever became of it."""
    directory = RunDirectory(tmp_path / "run")
    yield directory
    if is_alive(directory):
        ask(directory, "stop")
        wait_until(lambda: not is_alive(directory), seconds=60)


def open_terminal(folder: Path, columns: int, rows: int) -> Terminal:
    return Terminal(folder, columns, rows, XDG_STATE_HOME=str(folder / "state"), HF_HUB_OFFLINE="1")


def test_steer_detach_attach_and_stop(tmp_path: Path, directory: RunDirectory) -> None:
    terminal = open_terminal(tmp_path, 80, 24)
    terminal.type(START)
    terminal.wait_for(r"RUNNING(.|\n)*\d+/100000")
    terminal.press("c")
    terminal.wait_for("checkpoint done")
    terminal.press("p")
    terminal.wait_for("PAUSED")
    terminal.press("p")
    terminal.wait_for("RUNNING")
    terminal.press("d")
    terminal.wait_for("Detached: the run goes on. Watch it again with: kto-tui attach run")
    assert is_alive(directory)
    terminal.type(f"{KTO_TUI} attach")
    terminal.wait_for("RUNNING")
    terminal.press("s")
    terminal.wait_for(r"(?i)stop")
    terminal.press("y")
    terminal.wait_for("STOPPED")
    terminal.press("q")
    terminal.wait_for("--resume-from-checkpoint latest --output-dir")
    terminal.close()

    events = read_journal(directory.events)
    done = [event.command for event in events if isinstance(event, CommandDone) and event.outcome == "done"]
    assert done == ["checkpoint", "pause", "resume", "stop"]
    saved = [event.reason for event in events if isinstance(event, CheckpointSaved)]
    assert [reason for reason in saved if reason != "scheduled"] == ["requested", "paused", "stopped"]
    assert isinstance(events[-1], RunEnded)
    assert events[-1].exit_code == 0


@pytest.mark.slow
def test_the_run_outlives_its_terminal(tmp_path: Path, directory: RunDirectory) -> None:
    terminal = open_terminal(tmp_path, 140, 45)
    terminal.type(START)
    terminal.wait_for(r"RUNNING(.|\n)*\d+/100000")
    terminal.close()
    step = fold(read_journal(directory.events)).step
    wait_until(lambda: fold(read_journal(directory.events)).step > step)
    assert is_alive(directory)


def test_a_run_in_the_foreground_outlives_its_terminal(tmp_path: Path, directory: RunDirectory) -> None:
    terminal = open_terminal(tmp_path, 100, 30)
    terminal.type(START + " --no-ui")
    terminal.wait_for(r"\d+/100000")
    terminal.close()
    step = fold(read_journal(directory.events)).step
    wait_until(lambda: fold(read_journal(directory.events)).step > step)
    other = open_terminal(tmp_path, 80, 24)
    other.type(f"{KTO_TUI} attach")
    other.wait_for("RUNNING")
    other.close()


def test_ctrl_c_saves_and_a_start_in_the_same_folder_asks(tmp_path: Path, directory: RunDirectory) -> None:
    terminal = open_terminal(tmp_path, 100, 40)
    terminal.type(START + " --no-ui; echo code $?")
    terminal.wait_for(r"\d+/100000")
    terminal.press("C-c")
    screen = terminal.wait_for("code 130")
    assert "TRAINING STOPPED" in screen
    (checkpoint,) = directory.checkpoints()
    terminal.type(START)
    terminal.wait_for("(?i)resume")
    terminal.press("r")
    terminal.wait_for(r"RUNNING(.|\n)*\d+/100000")
    terminal.close()
    started = fold(read_journal(directory.events)).started
    assert started is not None
    assert started.resumed_from is not None
    assert Path(started.resumed_from).name == checkpoint.name
