"""The commands that only look, through their front door."""

import os
from pathlib import Path

import pytest

from kto_tui.cli import main
from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import CheckpointSaved, RunEnded, RunStarted, StageChanged, StepLogged
from kto_tui.run.journal import JournalWriter


def write_run(folder: Path, *, ended: RunEnded | None) -> RunDirectory:
    folder.mkdir(parents=True)
    directory = RunDirectory(folder)
    directory.settings.write_text(to_yaml(RunConfig(output_dir=str(folder))))
    with JournalWriter(directory.events) as journal:
        journal.append(RunStarted(run_id="r", versions={}, host="h", devices=()))
        journal.append(StageChanged(stage="training"))
        metrics = {"loss": 0.4, "rewards/margins": 1.25}
        journal.append(StepLogged(step=5, total_steps=10, epoch=1, metrics=metrics))
        path = str(directory.checkpoint(5))
        journal.append(CheckpointSaved(step=5, path=path, bytes=7, seconds=0.1, reason="scheduled"))
        if ended:
            journal.append(ended)
    return directory


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_runs_lists_what_is_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "no runs below" in capsys.readouterr().out
    write_run(tmp_path / "a" / "b", ended=RunEnded(status="completed", step=10, seconds=9))
    write_run(tmp_path / "c", ended=None)
    assert main(["runs", "."]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert "MARGIN" in head
    assert {"a/b", "completed", "1.250"} <= set(first.split())
    assert {"c", "died", "5/10"} <= set(second.split())
    assert main(["runs", "nowhere"]) == 2


@pytest.mark.parametrize(
    ("ended", "words", "code"),
    [
        (RunEnded(status="completed", step=10, seconds=9), "TRAINING COMPLETED", 0),
        (RunEnded(status="failed", step=5, seconds=9, error="E: x", exit_code=1), "TRAINING FAILED", 1),
        (None, "--resume-from-checkpoint latest --output-dir", 1),
    ],
)
def test_attach_without_a_screen_prints_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ended: RunEnded | None, words: str, code: int
) -> None:
    write_run(tmp_path / "run", ended=ended)
    assert main(["attach", "run", "--no-ui"]) == code
    printed = capsys.readouterr().out
    assert "5/10" in printed
    assert words in printed


def test_plan_shows_settings_and_rows_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--model-size", "tiny", "--max-steps", "7"]) == 0
    printed = capsys.readouterr().out
    assert "320 (160 desirable, 160 undesirable)" in printed
    assert "max_steps:" in printed
    asked = ["--eval-fraction", "0.1", "--reference-cache", "cache"]
    assert main(["plan", "--model-size", "tiny", *asked]) == 0
    printed = capsys.readouterr().out
    assert "10% of the rows, about 32" in printed
    assert f" {tmp_path / 'cache'}\n" in printed
    assert os.listdir(tmp_path) == []
