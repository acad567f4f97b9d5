"""Making and removing a run's folder, and what must never be removed."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kto_tui.cli import main, start
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import MERGED_MARKER, RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.core.events import RunEnded
from kto_tui.insight.view import attach_command
from kto_tui.run import launch
from kto_tui.run.journal import read_journal
from kto_tui.run.launch import check_output_dir, create, discard, start_detached
from kto_tui.run.lock import RunLock, is_held
from tests.fakes import worker


def old_run(tmp_path: Path) -> RunDirectory:
    """An ended run, with a file of the user's beside it."""
    directory = RunDirectory(tmp_path / "run")
    folders = (directory.checkpoint(5), directory.final_model, directory.base_model, directory.staging)
    for folder in (*folders, *directory.tracked):
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


def test_overwrite_removes_what_was_merged_of_the_old_run(tmp_path: Path) -> None:
    """And no folder of that name that somebody else has made."""
    for marked in (True, False):
        directory = RunDirectory(tmp_path / str(marked))
        (directory.merged_model).mkdir(parents=True)
        directory.settings.write_text("old")
        if marked:
            (directory.merged_model / MERGED_MARKER).write_text("{}")
        create(RunConfig(output_dir=str(directory.path), overwrite=True), directory)
        assert directory.merged_model.is_dir() != marked


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


def test_curves_of_others_are_not_taken_for_a_run_s_own(tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    with pytest.raises(UserError, match="holds mlruns, which no run of kto-tui wrote"):
        check_output_dir(RunConfig(output_dir=str(tmp_path)))


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
    assert check_output_dir(config) == directory  # It ended before it had one of its own: nothing to mix.
    directory.checkpoint(5).mkdir(exist_ok=True)
    (directory.checkpoint(5) / "manifest.json").write_text("{}")
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


def tells(config: RunConfig, events: Any, commands: Any) -> None:
    """A worker that says what it was allowed."""
    said = str(config.allow_changed_settings)
    events.put(RunEnded(status="failed", step=0, seconds=0, error=said, exit_code=1))


@pytest.mark.parametrize("allowed", [True, False])
def test_what_is_allowed_reaches_the_worker_of_a_run_on_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    """run.yaml does not keep it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    directory = RunDirectory(tmp_path / "run")
    create(RunConfig(output_dir=str(directory.path), dataset=str(tmp_path / "none.jsonl")), directory)
    process = start_detached(directory, None, allow_changed=allowed)
    process.kill()
    process.wait()
    assert isinstance(process.args, list)
    monkeypatch.setattr("train_worker.main", tells)
    assert main(process.args[3:]) == 1
    ended = read_journal(directory.events)[-1]
    assert isinstance(ended, RunEnded)
    assert ended.error == str(allowed)


def made(directory: RunDirectory) -> RunDirectory:
    directory.path.mkdir()
    return directory


@pytest.fixture
def _umask() -> Iterator[None]:
    """What a test sets is undone."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o022, 0o002, 0o000])
@pytest.mark.usefixtures("_umask")
def test_what_is_made_is_never_for_others_to_write(tmp_path: Path, umask: int) -> None:
    os.umask(umask)
    directory = RunDirectory(tmp_path / "above" / "between" / "run")
    config = RunConfig(output_dir=str(directory.path))
    create(config, directory)
    launch._open_log(directory).close()
    folder, file = 0o755 & ~umask, 0o644 & ~umask
    found = modes(tmp_path / "above")
    found.pop("run.lock")
    assert found == {"above": folder, "between": folder, "run": folder, "run.yaml": file, "run.log": file}
    create(msgspec.structs.replace(config, resume_from_checkpoint="x"), directory)
    assert modes(directory.path)["run.yaml"] == file


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o022, 0o000])
@pytest.mark.usefixtures("_umask")
def test_a_whole_run_writes_nothing_wider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    """Through the front door, with a worker that makes its files as libraries do: as the umask has them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("train_worker.main", worker.main)
    monkeypatch.chdir(tmp_path)
    os.umask(umask)
    assert (
        main(
            [
                "--no-ui",
                "--model-size",
                "tiny",
                "--output-dir",
                "a/run",
                "--max-steps",
                "5",
                "--save-steps",
                "2",
            ]
        )
        == 0
    )
    found = modes(tmp_path / "a")
    assert {"run.yaml", "run.lock", "events.jsonl", "checkpoint-4", "manifest.json"} <= found.keys()
    for name, mode in found.items():
        assert mode & (umask | 0o022) == 0, f"{name} is {mode:o}"


@pytest.mark.parametrize(
    "name", ["run.yaml", "run.lock", "events.jsonl", "commands.jsonl", "run.log", ".staging"]
)
@pytest.mark.parametrize("there", [True, False])
def test_a_planted_link_is_not_followed(tmp_path: Path, name: str, there: bool) -> None:
    directory = RunDirectory(tmp_path / "foreign")
    directory.path.mkdir()
    target = tmp_path / "mine"
    if there:
        target.write_text("precious")
    (directory.path / name).symlink_to(target)
    config = RunConfig(output_dir=str(directory.path), overwrite=True)
    for attempt in (check_output_dir, lambda config: create(config, directory)):
        with pytest.raises(UserError, match=rf"{name} is a link, which no run of kto-tui makes; remove it"):
            attempt(config)
    assert (target.read_text() if target.exists() else None) == ("precious" if there else None)


@pytest.mark.parametrize("name", ["run.yaml", "run.lock", "events.jsonl", "run.log"])
def test_a_planted_pipe_holds_nobody_up(tmp_path: Path, name: str) -> None:
    directory = RunDirectory(tmp_path)
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} is of another kind, which no run of kto-tui makes"):
        check_output_dir(RunConfig(output_dir=str(tmp_path), overwrite=True))
    with pytest.raises(UserError):
        start_detached(directory, None)


def test_a_link_planted_later_is_not_followed_either(tmp_path: Path) -> None:
    """Between the check and the writing."""
    target = tmp_path / "mine"
    target.write_text("precious")
    directory = RunDirectory(tmp_path / "run")
    config = RunConfig(output_dir=str(directory.path))
    create(config, directory)
    (directory.path / "run.new").symlink_to(target)
    create(msgspec.structs.replace(config, resume_from_checkpoint="x"), directory)
    directory.log.symlink_to(target)
    with pytest.raises(UserError, match=r"run\.log cannot be written"):
        start_detached(directory, None)
    directory.settings.unlink()
    directory.settings.symlink_to(target)
    with pytest.raises(FileExistsError):
        launch._write_settings(config, directory.settings)
    assert target.read_text() == "precious"
