"""How soon something is on the screen: `--help`, and the dashboard's first paint."""

import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import in_turns, report, seconds
from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import RunEnded, RunStarted, StepLogged
from kto_tui.run.journal import JournalWriter

_ROUNDS = 9
_KTO_TUI = str(Path(sys.executable).with_name("kto-tui"))


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def help_against_python() -> None:
    found = in_turns(
        _ROUNDS,
        lambda: seconds(lambda: run(_KTO_TUI, "--help")),
        lambda: seconds(lambda: run(sys.executable, "-c", "pass")),
    )
    report("kto-tui --help", found, "python -c pass", "under 8")


def first_paint_against_textual() -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = write_run(Path(folder))
        found = in_turns(
            _ROUNDS,
            lambda: seconds_to_first_paint(directory),
            lambda: seconds(lambda: run(sys.executable, "-c", "import textual.app")),
        )
    report("dashboard's first paint", found, "python -c 'import textual.app'", "under 2.5")


def write_run(folder: Path) -> RunDirectory:
    """A small run that has ended."""
    directory = RunDirectory(folder)
    directory.settings.write_text(to_yaml(RunConfig(output_dir=str(folder))))
    writer = JournalWriter(directory.events)
    writer.append(RunStarted(run_id="r", versions={}, host="h", devices=()))
    for step in range(5, 105, 5):
        writer.append(StepLogged(step=step, total_steps=100, epoch=1, metrics={"loss": 0.4}))
    writer.append(RunEnded(status="completed", step=100, seconds=60))
    writer.close()
    return directory


def seconds_to_first_paint(directory: RunDirectory) -> float:
    """From the start of `kto-tui attach` until the head of the metrics table is on a real terminal."""
    begun = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="140", LINES="45")
        os.execv(_KTO_TUI, [_KTO_TUI, "attach", str(directory.path)])
    drawn = b""
    while b"Loss" not in drawn:
        if not select.select([terminal], [], [], 30)[0]:
            raise RuntimeError(f"nothing was drawn: {drawn[-500:]!r}")
        drawn += os.read(terminal, 65536)
    taken = time.perf_counter() - begun
    os.write(terminal, b"q")
    drain(terminal)
    os.waitpid(pid, 0)
    return taken


def drain(terminal: int) -> None:
    """Read what is still drawn until the program lets its terminal go."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # A pty whose other side was closed reads as an error on Linux.
        os.close(terminal)
