"""check-data through its front door."""

import json
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from kto_tui.cli import main
from kto_tui.data.survey.fixing import part_of

SECONDS = 60


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, *records: object) -> None:
    Path(name).write_text("".join(json.dumps(record) + "\n" for record in records))


def rated(number: int, **changes: object) -> dict[str, object]:
    return {"prompt": f"q{number}", "completion": f"a{number}", "label": number % 2 == 0, **changes}


def test_rows_without_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-data", "builtin:sample"]) == 0
    told = capsys.readouterr()
    assert "TRAINING DATA: 320 rows" in told.out
    assert "name the model with --model-size or --model" in told.out
    assert told.err == ""


def test_bad_rows_end_in_code_2_after_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.jsonl", *(rated(n) for n in range(9)), *(rated(n, label="?") for n in range(30)))
    write("e.jsonl", rated(3))
    assert main(["check-data", "a.jsonl", "--eval-dataset", "e.jsonl"]) == 2
    told = " ".join(capsys.readouterr().out.split())
    assert told.count('"label" is "?"') == 6  # 5 rows, and the reason.
    assert "... and 25 more such rows" in told
    assert "prompts of the training data, with the same answer: 1 of 1 rows (100%)" in told


def test_columns_as_for_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.jsonl", *({"q": f"q{n}", "a": f"a{n}", "stars": n % 5 + 1} for n in range(20)))
    Path("run.yaml").write_text("prompt_column: q\ncompletion_column: a\n")
    options = ["--config", "run.yaml", "--label-column", "stars", "--desirable-at-least", "4"]
    assert main(["check-data", "a.jsonl", *options]) == 0
    assert "8 (40%); 12 undesirable" in capsys.readouterr().out


def test_fix_says_what_it_did_and_overwrites_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.jsonl", rated(0), rated(1), rated(1), rated(2, label="?"))
    assert main(["check-data", "a.jsonl", "--fix", "b.jsonl"]) == 2
    told = capsys.readouterr().out
    assert told.endswith(
        "Written: 2 rows to b.jsonl\n"
        "  left out 1: duplicates\n"
        "  left out 1: rows that cannot be trained on as written\n"
    )
    assert main(["check-data", "a.jsonl", "--fix", "a.jsonl"]) == 2
    assert "it is there already, and nothing is overwritten" in capsys.readouterr().err
    assert main(["check-data", "b.jsonl"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no data: kto-tui check-data FILE"),
        (["none.jsonl"], "none.jsonl: no such file"),
        (["a.jsonl", "--fix", "b.csv"], "ends in .jsonl"),
        (["a.jsonl", "--model", "./none"], "no such folder"),
        (["a.jsonl", "--max-length", "1"], "--max-length"),
        (["a.jsonl", "--eval-fraction", "0.5"], "unrecognized arguments: --eval-fraction"),
    ],
)
def test_wrong_requests_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    write("a.jsonl", rated(0), rated(1))
    assert main(["check-data", *arguments]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert words in told.err


def test_tokens_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    write(
        "a.jsonl",
        *(rated(n) for n in range(20)),
        rated(21, prompt="<|user|>x", label=True),
        rated(22, prompt="long " * 20, label=True),
    )
    write("e.jsonl", rated(23, prompt=[{"role": "nobody", "content": "x"}], label=True))
    options = ["--model-size", "tiny", "--max-length", "40", "--eval-dataset", "e.jsonl", "--fix", "b.jsonl"]
    assert main(["check-data", "a.jsonl", *options]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Tokens p5 p50 p95 p99 max prompts" in told
    assert "dropped, as the prompt alone fills --max-length 40: 1 of 22 rows (4.5%)" in told
    assert "They are special tokens of this model" in told
    assert "left out 1: prompts that fill --max-length 40" in told
    assert len(Path("b.jsonl").read_text().splitlines()) == 21
    assert "EVALUATION DATA: 1 row" in told


@pytest.mark.parametrize("model", [[], ["--model-size", "tiny"]])
def test_a_scale_that_nobody_explained_is_one_line(
    capsys: pytest.CaptureFixture[str], model: list[str]
) -> None:
    """Written down, its 0 would be bad, its 1 good, and 2 to 5 left out."""
    write("a.jsonl", *(rated(n, label=n % 6) for n in range(60)))
    assert main(["check-data", "a.jsonl", "--fix", "b.jsonl", *model]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert "--desirable-at-least 4" in told.err
    assert not Path("b.jsonl").exists()


def test_fix_says_that_weights_are_lost(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.jsonl", *(rated(n) for n in range(4)))
    assert main(["check-data", "a.jsonl=4", "--fix", "b.jsonl"]) == 0
    told = capsys.readouterr().out
    assert "4 records taken 4 times, 16 rows" in told
    assert told.endswith("each row is in it once: a.jsonl=4 has no weight any more\n")


def test_what_could_not_be_written_is_said_below_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.jsonl", rated(0, label=0), rated(1, label=1))
    assert main(["check-data", "a.jsonl", "--desirable-at-least", "4", "--fix", "b.jsonl"]) == 2
    told = capsys.readouterr().out
    assert "2 records, 2 rows\n" in told
    assert told.endswith("\n--fix b.jsonl: nothing was written, since the labels are not known\n")


def test_lines_as_long_as_the_terminal_is_wide() -> None:
    write("a.jsonl", rated(0), rated(1))
    command = [sys.executable, "-m", "kto_tui", "check-data", "a.jsonl"]
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    subprocess.run(command, env=env, stdout=theirs, stderr=subprocess.DEVNULL, check=True, timeout=SECONDS)
    lines = os.read(ours, 65536).decode().splitlines()
    os.close(theirs)
    os.close(ours)
    assert lines[1] in ("─" * 100, "-" * 100)


def test_what_a_run_will_hold_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    write("a.jsonl", *(rated(n) for n in range(4)))
    Path("run.yaml").write_text("eval_fraction: 0.25\n")
    assert main(["check-data", "a.jsonl", "--config", "run.yaml"]) == 0
    assert "--eval-fraction 0.25 is not taken off: these are all rows" in capsys.readouterr().out


def test_ctrl_c_while_the_process_that_counts_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be left behind: whoever waits for it to begin does not know it yet. So would what it wrote."""
    write("a.jsonl", rated(0), rated(1))
    started: list[int] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)
            part_of(Path("b.jsonl"), self.pid).touch()
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("kto_tui.cli.check_data.subprocess.Popen", Interrupted)
    assert main(["check-data", "a.jsonl", "--model-size", "tiny", "--fix", "b.jsonl"]) == 130
    assert [path.name for path in Path().iterdir()] == ["a.jsonl"]
    assert len(started) == 1
    assert not psutil.pid_exists(started[0])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.worker
def test_ctrl_c_ends_the_process_that_counts() -> None:
    write("a.jsonl", *(rated(n) for n in range(50_000)))
    command = [sys.executable, "-m", "kto_tui", "check-data", "a.jsonl", "--model-size", "tiny"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        child = None
        deadline = time.monotonic() + SECONDS
        while child is None and time.monotonic() < deadline:
            found = psutil.Process(process.pid).children()
            child = next((each for each in found if "kto_tui.training.survey" in each.cmdline()), None)
        assert child is not None
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, err) == (130, b"", b"")
    child.wait(SECONDS)
