"""The commands that only look, through their front door."""

import json
import os
from pathlib import Path

import pytest

from kto_tui.cli import main
from kto_tui.cli.request import check, settings_of
from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import CheckpointSaved, RunEnded, RunStarted, StageChanged, StepLogged
from kto_tui.run.journal import JournalWriter
from tests.sizing.presets import PRESETS


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


def plan(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["plan", "--model-size", "tiny", *options]) == 0
    return capsys.readouterr().out.partition("\nMemory\n")[2]


def test_plan_tells_the_memory_of_this_machine_or_of_a_named_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    here = plan(capsys)
    assert "FITS" in here
    assert "Python and libraries" in here
    assert "not known before the first run" in here
    there = plan(capsys, "--gpu", "RTX 3090")
    assert "CUDA itself" in there
    assert "24.00 GiB in all" in there
    assert "1.5" in plan(capsys, "--vram", "1.5")
    assert main(["plan", "--model-size", "tiny", "--gpu", "Voodoo"]) == 2
    assert main(["plan", "--model-size", "tiny", "--gpu", "T4", "--vram", "8"]) == 2
    assert "--vram" in capsys.readouterr().err


def write_model(folder: Path, **changes: object) -> str:
    """A folder that passes for a model's, with a config and no weights to speak of."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(PRESETS["7b"][0] | changes))
    for name in ("tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    return str(folder)


def test_plan_of_a_large_model_on_a_small_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "model")
    rows = [{"prompt": "a" * 9000, "completion": "b", "label": good} for good in (True, False)]
    Path("long.jsonl").write_text("\n".join(map(json.dumps, rows)))
    asked = ["--model", model, "--max-length", "2048", "--quantization", "nf4", "--lora-rank", "64"]
    asked += ["--dataset", "long.jsonl"]
    big = plan(capsys, *asked, "--batch-size", "auto", "--gpu", "RTX 3090")
    assert "FITS" in big
    assert "7.25 billion" in big
    assert "--batch-size auto: " in big
    small = plan(capsys, *asked, "--batch-size", "8", "--vram", "8")
    assert "DOES NOT FIT" in small
    assert "to change first:" in small
    assert "largest micro-batch:  none" in small
    assert "2,048 tokens (at most, by the bytes of the data's text)" in small
    for line in (big + small).splitlines():
        assert len(line) <= 80, line


def test_plan_without_a_shape_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "model", hidden_size="wide")
    text = plan(capsys, "--model", model)
    assert text.startswith("  none: ")
    assert "hidden_size is no whole number" in text
    assert main(["plan", "--model-size", "tiny", "--model", model, "--batch-size", "auto"]) == 2
    assert "give a number instead" in capsys.readouterr().err


def test_plan_knows_the_pace_of_a_run_of_the_same_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = check(settings_of({"model_size": "tiny", "output_dir": "run"})).config
    (tmp_path / "run").mkdir()
    directory = RunDirectory(tmp_path / "run")
    directory.settings.write_text(to_yaml(config))
    with JournalWriter(directory.events) as journal:
        for step in range(1, 6):
            journal.append(
                StepLogged(step=step, total_steps=9, epoch=1, metrics={}, time=1000.0 + 2.5 * step)
            )
    assert "seconds a step:       about 2.5" in plan(capsys, "--output-dir", "run")
    assert "not known" in plan(capsys, "--output-dir", "run", "--max-length", "128")
