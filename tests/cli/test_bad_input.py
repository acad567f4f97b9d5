"""A wrong request: one line that names what is wrong, exit code 2, and nothing left on the disk."""

import json
import os
from pathlib import Path

import pytest

from kto_tui.cli import main
from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.directory import RunDirectory
from kto_tui.run.lock import RunLock
from tests.cli.checkpoints import write_checkpoint

ROWS = [{"prompt": "a", "completion": "b", "label": True}, {"prompt": "a", "completion": "c", "label": False}]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)


def write_rows(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that refuses these arguments, which leave no folder."""
    before = sorted(Path().rglob("*"))
    assert main(["--no-ui", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("kto-tui: ")
    assert output.err.count("\n") == 1
    assert "Traceback" not in output.err
    assert sorted(Path().rglob("*")) == before
    return output.err


def test_unknown_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--model-size 9b: no such preset; choose one of tiny" in refused(capsys, "--model-size", "9b")


def test_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--batchsize" in refused(capsys, "--model-size", "tiny", "--batchsize", "3")


@pytest.mark.parametrize(
    ("value", "found"), [("0", "'0'"), ("-1", "'-1'"), ("many", "'many'"), ("", "nothing")]
)
def test_save_steps_out_of_bounds(capsys: pytest.CaptureFixture[str], value: str, found: str) -> None:
    line = refused(capsys, "--model-size", "tiny", f"--save-steps={value}")
    assert f"--save-steps: found {found}; expected a whole number of at least 1" in line


@pytest.mark.parametrize("name", ["none.jsonl", "none.csv", "./none.parquet"])
def test_missing_file(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert Path(name).name in refused(capsys, "--model-size", "tiny", "--dataset", name)


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.jsonl").write_text("")
    assert "empty.jsonl" in refused(capsys, "--model-size", "tiny", "--dataset", "empty.jsonl")


def test_no_label_column(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(Path("a.jsonl"), [{"prompt": "a", "completion": "b", "verdict": True}])
    line = refused(capsys, "--model-size", "tiny", "--dataset", "a.jsonl")
    assert "a.jsonl, row 1" in line
    assert '"label"' in line
    assert "verdict" in line
    assert "--label-column" in line


def test_a_label_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(Path("a.jsonl"), [*ROWS, {"prompt": "a", "completion": "b", "label": "maybe"}])
    line = refused(capsys, "--model-size", "tiny", "--dataset", "a.jsonl")
    assert 'a.jsonl, row 3: "label" is "maybe"; expected true/false, 0/1, yes/no' in line


def test_labels_of_one_class(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(Path("a.jsonl"), [ROWS[0]] * 4)
    line = refused(capsys, "--model-size", "tiny", "--dataset", "a.jsonl")
    assert "all 4 rows are desirable" in line


def test_an_output_directory_that_holds_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    directory = RunDirectory(Path("out"))
    directory.path.mkdir()
    directory.settings.write_text(to_yaml(RunConfig()))
    line = refused(capsys, "--model-size", "tiny", "--output-dir", "out")
    assert "--resume-from-checkpoint latest" in line
    assert "--overwrite" in line


def test_an_output_directory_whose_run_is_alive(capsys: pytest.CaptureFixture[str]) -> None:
    directory = RunDirectory(Path("out"))
    directory.path.mkdir()
    lock = RunLock(directory.lock)
    lock.acquire()
    line = refused(capsys, "--model-size", "tiny", "--output-dir", "out", "--overwrite")
    lock.release()
    assert "kto-tui attach out" in line


def test_rows_to_evaluate_on_from_two_places(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--eval-dataset", "held.jsonl", "--eval-fraction", "0.1")
    assert "found both; choose one of them" in refused(capsys, "--model-size", "tiny", *asked)


def test_patience_without_an_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "--model-size", "tiny", "--early-stopping-patience", "2")
    assert "nothing is evaluated; add --eval-dataset ID|FILE, or --eval-fraction 0.1" in line


@pytest.mark.parametrize(
    ("fraction", "found"),
    [("0.1", "about 1 would be held out and 9"), ("0.9", "about 9 would be held out and 1")],
)
def test_a_part_held_out_that_leaves_no_pairs(
    capsys: pytest.CaptureFixture[str], fraction: str, found: str
) -> None:
    write_rows(Path("a.jsonl"), ROWS * 5)
    line = refused(capsys, "--model-size", "tiny", "--dataset", "a.jsonl", "--eval-fraction", fraction)
    assert f"--eval-fraction {fraction}: of 10 rows, {found} trained on; expected at least 2 of each" in line


def test_a_cache_that_is_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    line = refused(capsys, "--model-size", "tiny", "--reference-cache", "file/cache")
    assert "file is not a folder; name another, or off" in line


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs a file system in which nothing can be made"
)
def test_a_cache_that_cannot_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "--model-size", "tiny", "--reference-cache", "/proc/none/cache")
    assert "--reference-cache /proc/none/cache: no folder can be made in /proc; name another, or off" in line


def test_steps_between_evaluations_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "--model-size", "tiny", "--eval-steps", "2")
    assert "--eval-steps 2: nothing is evaluated; add --eval-dataset ID|FILE, or --eval-fraction 0.1" in line


def test_a_folder_that_cannot_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    assert "file is not a folder" in refused(capsys, "--model-size", "tiny", "--output-dir", "file/out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o555)
    assert "locked cannot be written" in refused(capsys, "--model-size", "tiny", "--output-dir", "locked/out")


def test_a_read_only_file_system(capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc here")
    line = refused(capsys, "--model-size", "tiny", "--output-dir", "/proc/kto-tui")
    assert "--output-dir /proc/kto-tui" in line


def test_a_model_that_cannot_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(Path("a.jsonl"), ROWS)
    line = refused(capsys, "--model", "nobody/nothing", "--dataset", "a.jsonl", "--output-dir", "out")
    assert "nobody/nothing" in line


def test_a_model_folder_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(Path("a.jsonl"), ROWS)
    Path("model").mkdir()
    assert "config.json" in refused(capsys, "--model", "./model", "--dataset", "a.jsonl")
    assert "no such folder" in refused(capsys, "--model", "./none", "--dataset", "a.jsonl")


def test_no_model_and_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--model-size" in refused(capsys)
    assert "--dataset" in refused(capsys, "--model", "builtin:tiny")


def test_a_checkpoint_of_another_model(capsys: pytest.CaptureFixture[str]) -> None:
    path = write_checkpoint(Path("out"), 50, model="mistralai/Mistral-7B-Instruct-v0.3")
    line = refused(capsys, "--model-size", "tiny", "--resume-from-checkpoint", str(path))
    assert "mistralai/Mistral-7B-Instruct-v0.3" in line


def test_a_preset_of_another_model_than_the_run_that_is_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    path = write_checkpoint(Path("out"), 50)
    (Path("out") / "run.yaml").write_text("model: builtin:tiny\nmodel_size: tiny\n")
    line = refused(capsys, "--model-size", "7b", "--resume-from-checkpoint", str(path))
    assert "builtin:tiny" in line


def test_no_checkpoint_to_resume(capsys: pytest.CaptureFixture[str]) -> None:
    latest = ("--resume-from-checkpoint", "latest")
    assert "holds no checkpoint" in refused(capsys, *latest, "--output-dir", "out")
    assert "of which run" in refused(capsys, *latest)
    assert "found nothing" in refused(capsys, "--model-size", "tiny", "--resume-from-checkpoint", "")
    assert "no such folder" in refused(capsys, "--resume-from-checkpoint", "out/checkpoint-9")
    (Path("out") / "checkpoint-9").mkdir(parents=True)
    assert "not a whole checkpoint" in refused(capsys, "--resume-from-checkpoint", "out/checkpoint-9")


def test_an_old_checkpoint_beside_newer_ones(capsys: pytest.CaptureFixture[str]) -> None:
    old = write_checkpoint(Path("out"), 50)
    write_checkpoint(Path("out"), 100)
    line = refused(capsys, "--model-size", "tiny", "--resume-from-checkpoint", str(old))
    assert "checkpoint-100" in line


def test_wandb_without_its_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name))
    assert "pip install 'kto-tui[wandb]'" in refused(capsys, "--model-size", "tiny", "--wandb")


def test_nothing_to_attach_to(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("state").resolve()))
    for arguments, words in ((["attach"], "no run is alive"), (["attach", "here"], "holds no run")):
        assert main(arguments) == 2
        assert words in capsys.readouterr().err
