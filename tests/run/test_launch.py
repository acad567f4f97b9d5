"""Making and removing a run's folder, and what must never be removed."""

from pathlib import Path

import pytest

from kto_tui.cli import start
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.insight.view import attach_command
from kto_tui.run.launch import check_output_dir, create, discard, start_detached
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


def test_a_refusal_never_costs_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("train_worker.main", worker.saves_then_refuses)
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(UserError, match="no such model"):
        start._in_foreground(RunConfig(output_dir=str(directory.path)), directory)
    assert [path.name for path in directory.checkpoints()] == ["checkpoint-7"]
    assert directory.events.is_file()


def test_folders_that_no_run_of_ours_wrote_are_left_alone(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.checkpoint(500).mkdir(parents=True)
    (directory.checkpoint(500) / "pytorch_model.bin").write_text("mine")
    config = RunConfig(output_dir=str(directory.path), overwrite=True)
    with pytest.raises(UserError, match="holds checkpoint-500, which no run of kto-tui wrote"):
        check_output_dir(config)


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    directory = old_run(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model").write_text("mine")
    directory.checkpoint(9).symlink_to(elsewhere)
    create(RunConfig(output_dir=str(directory.path), overwrite=True), directory)
    assert (elsewhere / "model").read_text() == "mine"
    assert not directory.checkpoint(9).exists()


def test_the_checkpoint_of_one_run_does_not_go_on_in_the_folder_of_another(tmp_path: Path) -> None:
    directory = old_run(tmp_path)
    other = tmp_path / "other" / "checkpoint-9"
    config = RunConfig(output_dir=str(directory.path), resume_from_checkpoint=str(other))
    with pytest.raises(UserError, match="holds a run already"):
        check_output_dir(config)
    own = RunConfig(
        output_dir=str(directory.path), resume_from_checkpoint=str(directory.checkpoint(5).resolve())
    )
    assert check_output_dir(own) == directory


def test_a_supervisor_that_does_not_start_leaves_no_folder(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    directory.settings.write_text("from_the_future: 1\n")
    with pytest.raises(UserError, match=r"did not start; its last words: .*no settings that can be read"):
        start_detached(directory, None)
    assert not directory.path.exists()


def test_a_folder_whose_name_begins_with_a_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert attach_command(Path("-x")) == "kto-tui attach ./-x"
    with pytest.raises(UserError, match="no settings that can be read"):
        start_detached(made(RunDirectory.at("-x")), None)


def made(directory: RunDirectory) -> RunDirectory:
    directory.path.mkdir()
    return directory
