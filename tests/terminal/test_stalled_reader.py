"""Real runs in the foreground whose output nobody reads for a while: the run does not notice."""

import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import CheckpointSaved, Event, RunEnded, RunStarted, StageChanged, StepLogged
from kto_tui.core.manifest import newest_whole
from kto_tui.run.journal import JournalReader
from tests.run.test_supervisor import wait_until

pytestmark = [pytest.mark.terminal, pytest.mark.worker]

SMALL = 4096  # The smallest pipe there is: a few dozen rows of the table.
ENDED_SECONDS = 30.0
OPTIONS = (
    *("--no-ui", "--model-size", "tiny", "--max-steps", "100000", "--save-steps", "100000"),
    *("--logging-steps", "1", "--max-length", "64", "--batch-size", "2", "--output-dir", "run"),
)
KTO_TUI = ("-m", "kto_tui")
WITH_A_SHORT_QUEUE = (
    "-c",
    "import functools, sys\n"
    "from kto_tui.cli import main\n"
    "from kto_tui.report import stream\n"
    "stream.LineQueue = functools.partial(stream.LineQueue, limit=100)\n"
    "sys.exit(main())",
)


class Printing:
    """A command of kto-tui whose output goes into a small pipe, which is read only when asked."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.directory = RunDirectory(folder / "run")
        self._reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, SMALL)
        state = {"XDG_STATE_HOME": str(folder / "state"), "HF_HUB_OFFLINE": "1", "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **state},
        )
        os.close(writer)
        self._text = b""
        self._journal = JournalReader(self.directory.events)
        self.step = 0

    def reach(self, step: int) -> None:
        """Until the journal has this step."""

        def reached() -> bool:
            assert self.process.poll() is None, self.process.communicate()[1]
            for event in self._journal.read_events():
                if isinstance(event, StepLogged):
                    self.step = event.step
            return self.step >= step

        wait_until(reached, seconds=90)

    def read_until(self, pattern: str) -> str:
        """All that was printed, once it has this. Fails at the end of the output."""
        while not re.search(pattern, text := self._text.decode(errors="replace")):
            piece = os.read(self._reader, SMALL)
            assert piece, f"no {pattern!r} in the output, which ends with: {text[-400:]}"
            self._text += piece
        return text

    def read_all(self) -> str:
        while piece := os.read(self._reader, SMALL):
            self._text += piece
        return self._text.decode()

    def end(self) -> tuple[int, str]:
        """The exit code and stderr, once the process has ended. Reads nothing of the output."""
        _, errors = self.process.communicate(timeout=ENDED_SECONDS)
        return self.process.returncode, errors

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self._journal.close()
        os.close(self._reader)


@pytest.fixture
def stalled(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Printing]:
    """A run that has gone on far beyond what its pipe takes."""
    printing = Printing(tmp_path, *request.param, *OPTIONS)
    try:
        printing.reach(200)
        yield printing
    finally:
        printing.close()


def steps(text: str) -> list[int]:
    """The steps of the table's rows, in the order they were printed."""
    return [int(step) for step in re.findall(r"^│ *(\d+)/100000\b", text, re.MULTILINE)]


@pytest.mark.parametrize("stalled", [KTO_TUI], indirect=True)
def test_a_signal_ends_a_run_whose_output_nobody_reads(stalled: Printing) -> None:
    stalled.process.send_signal(signal.SIGTERM)
    code, errors = stalled.end()
    assert code == 143
    checkpoint, passed_over = newest_whole(stalled.directory)
    assert checkpoint is not None
    assert not passed_over
    step = int(checkpoint.name.split("-")[1])
    assert step >= 200
    missing = re.fullmatch(
        rf"kto-tui: stopped at step {step}; (\d+) lines were not printed, see: kto-tui attach \S+ --no-ui\n",
        errors,
    )
    assert missing, errors
    text = stalled.read_all()
    assert text.endswith("\n")
    shown = steps(text)
    assert shown == list(range(1, len(shown) + 1))
    assert 0 < len(shown) < 100
    assert int(missing[1]) > step - len(shown), "all rows, and the end of the table"


@pytest.mark.slow
@pytest.mark.parametrize("stalled", [WITH_A_SHORT_QUEUE], indirect=True)
def test_a_reader_who_comes_back_is_told_what_it_missed(stalled: Printing) -> None:
    text = stalled.read_until(r"not printed (.|\n)*\d+/100000 ")
    stalled.process.send_signal(signal.SIGTERM)
    text = stalled.read_until("TRAINING STOPPED(.|\n)*Resume with: .*\n")
    code, errors = stalled.end()
    assert (code, errors) == (143, "")
    assert text == stalled.read_all()
    (told,) = re.findall(r"^(\d+) lines were not printed while nobody read; (.*)$", text, re.MULTILINE)
    assert re.fullmatch(r"all of them: kto-tui attach \S+ --no-ui", told[1])
    before, after = (steps(part) for part in text.split("not printed"))
    assert before == list(range(1, len(before) + 1))
    assert after == list(range(before[-1] + int(told[0]) + 1, after[-1] + 1))


@pytest.mark.slow
def test_attach_waits_for_its_reader_and_leaves_nothing_out(tmp_path: Path) -> None:
    count = 100_000
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    directory.settings.write_text(to_yaml(RunConfig(output_dir=str(directory.path))))
    write_journal(directory.events, count)
    attach = Printing(tmp_path, *KTO_TUI, "attach", "run", "--no-ui")
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            attach.process.wait(5)
        text = attach.read_all()
        assert attach.end() == (0, "")
    finally:
        attach.close()
    assert steps(text) == list(range(1, count + 1))
    assert "TRAINING COMPLETED" in text


def write_journal(path: Path, count: int) -> None:
    """A whole run of so many steps, and one checkpoint."""
    said: list[Event] = [
        RunStarted(run_id="r", versions={}, host="h", devices=()),
        StageChanged(stage="training"),
    ]
    for step in range(1, count + 1):
        said.append(StepLogged(step=step, total_steps=count, epoch=1, metrics={"loss": 0.4}))
    saved = str(path.parent / f"checkpoint-{count}")
    said.append(CheckpointSaved(step=count, path=saved, bytes=7, seconds=0.1, reason="scheduled"))
    said.append(RunEnded(status="completed", step=count, seconds=9))
    encode = msgspec.json.encode
    numbered = (msgspec.structs.replace(event, seq=seq, time=seq / 10) for seq, event in enumerate(said, 1))
    path.write_bytes(b"".join(encode(event) + b"\n" for event in numbered))
