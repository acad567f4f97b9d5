"""Making and removing a run's folder, and what must never be removed."""

from pathlib import Path

import pytest

from kto_tui.cli import start
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.run.launch import create, discard
from kto_tui.run.lock import RunLock, is_held
from tests.fakes import worker


def old_run(tmp_path: Path) -> RunDirectory:
    """An ended run, with a file of the user's beside it."""
    directory = RunDirectory(tmp_path / "run")
    for folder in (directory.checkpoint(5), directory.final_model, directory.base_model, directory.staging):
        folder.mkdir(parents=True)
    for path in (directory.settings, directory.events, directory.commands, directory.log, directory.lock):
        path.write_text("old")
    (directory.path / "notes.txt").write_text("mine")
    return directory


def test_overwrite_removes_the_old_run_and_nothing_else(tmp_path: Path) -> None:
    directory = old_run(tmp_path)
    create(RunConfig(output_dir=str(directory.path), overwrite=True), directory)
    assert {path.name for path in directory.path.iterdir()} == {"run.yaml", "run.lock", "notes.txt"}
    assert "output_dir" in directory.settings.read_text()


def test_overwrite_never_touches_a_run_that_is_alive(tmp_path: Path) -> None:
    directory = old_run(tmp_path)
    with RunLock(directory.lock):
        with pytest.raises(UserError, match="kto-tui attach"):
            create(RunConfig(output_dir=str(directory.path), overwrite=True), directory)
        assert is_held(directory.lock)
    assert directory.checkpoint(5).is_dir()
    assert directory.events.read_text() == "old"


def test_two_starts_in_one_folder(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    create(RunConfig(output_dir=str(directory.path)), directory)
    with pytest.raises(UserError, match="another run was started there"):
        create(RunConfig(output_dir=str(directory.path)), directory)


def test_discard_leaves_what_is_not_a_runs(tmp_path: Path) -> None:
    directory = old_run(tmp_path)
    discard(directory)
    assert [path.name for path in directory.path.iterdir()] == ["notes.txt"]
    (directory.path / "notes.txt").unlink()
    discard(directory)
    assert not directory.path.exists()


def test_what_the_worker_refuses_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("train_worker.main", worker.refuses)
    directory = RunDirectory(tmp_path / "run")
    config = RunConfig(output_dir=str(directory.path))
    with pytest.raises(UserError, match="model x: no such model"):
        start._in_foreground(config, directory)
    assert not directory.path.exists()
