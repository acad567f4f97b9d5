"""The disk fails while a checkpoint or the final model is written: the run goes on, what was there stays."""

import contextlib
import errno
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from kto_tui.core.events import AlertRaised, CheckpointFailed, CheckpointSaved, Event, RunEnded, StepLogged
from tests.real_worker.harness import Sitting, sit, tiny
from tests.real_worker.scarce import patched
from tests.real_worker.test_hostile_checkpoint import sign

pytestmark = pytest.mark.worker

STEPS = 14


@contextlib.contextmanager
def small_disk(folder: Path, inodes: int) -> Iterator[Path]:
    folder.mkdir()
    options = f"size=16m,nr_inodes={inodes}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "kto-test", str(folder)])
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        # Lazily: the built-in model's file is still mapped.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_whichever_file_there_is_no_room_for_the_run_goes_on(tmp_path: Path) -> None:
    """At each step one file more can be made, so that each of a checkpoint's is once the one that fails."""
    with small_disk(tmp_path / "disk", 60) as disk:

        def leave_few(event: Event, _: Sitting) -> None:
            if isinstance(event, StepLogged):
                for ballast in disk.glob("ballast-*"):
                    ballast.unlink()
                room = os.statvfs(disk).f_ffree - 2 - event.step
                for number in range(0 if event.step == STEPS else room):
                    (disk / f"ballast-{number}").touch()

        settings = {"max_steps": STEPS, "save_steps": 1, "save_total_limit": 1}
        sitting = sit(msgspec.structs.replace(tiny(tmp_path, **settings), output_dir=str(disk)), leave_few)
        assert sitting.of(RunEnded)[0].status == "completed"
        assert f"checkpoint-{STEPS}" in sitting.checkpoints
        assert (disk / "final_model" / "adapter_model.safetensors").exists()
    failed = {event.step: event.error for event in sitting.of(CheckpointFailed)}
    assert sorted(failed) == list(range(1, len(failed) + 1))
    assert len(failed) >= 5, "each library is to meet the limit once"
    assert set(failed.values()) == {"No space left on device"}


@contextlib.contextmanager
def after_the_tokenizer(act: Callable[[PreTrainedTokenizerFast, Path], None]) -> Iterator[None]:
    """Done in each folder that the tokenizer was written to, before the files that follow it."""

    def make(save: Callable[..., Any]) -> Callable[..., Any]:
        def save_and_act(self: PreTrainedTokenizerFast, folder: str, *args: Any, **kwargs: Any) -> Any:
            saved = save(self, folder, *args, **kwargs)
            act(self, Path(folder))
            return saved

        return save_and_act

    with patched(PreTrainedTokenizerFast, "save_pretrained", make):
        yield


def write_to_a_full_disk(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    (folder / "full").symlink_to("/dev/full")
    tokenizer.backend_tokenizer.save(str(folder / "full"))


def lose_the_folder(_: PreTrainedTokenizerFast, folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("act", "says"),
    [(write_to_a_full_disk, "No space left on device"), (lose_the_folder, "Parent directory")],
)
def test_a_library_that_fails_in_its_own_way_costs_one_checkpoint(
    tmp_path: Path, act: Callable[[PreTrainedTokenizerFast, Path], None], says: str
) -> None:
    def fail(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
        if folder.name == "checkpoint-2":
            act(tokenizer, folder)

    with after_the_tokenizer(fail):
        sitting = sit(tiny(tmp_path, max_steps=4, save_steps=2))
    assert sitting.of(RunEnded)[0].status == "completed"
    (failed,) = sitting.of(CheckpointFailed)
    assert failed.step == 2
    assert says in failed.error
    assert "\n" not in failed.error
    assert [alert.kind for alert in sitting.of(AlertRaised)] == ["checkpoint_failed"]
    assert [saved.step for saved in sitting.of(CheckpointSaved)] == [4]


@pytest.fixture
def finished(tmp_path: Path) -> Sitting:
    """A run whose final model is there, and that has nothing left to train."""
    return sit(tiny(tmp_path, max_steps=2, save_steps=1))


def again(finished: Sitting) -> Sitting:
    checkpoint = str(finished.output / "checkpoint-2")
    return sit(msgspec.structs.replace(finished.config, resume_from_checkpoint=checkpoint))


def final_files(sitting: Sitting) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (sitting.output / "final_model").iterdir()}


def test_a_final_model_that_cannot_be_written_leaves_the_old_one(finished: Sitting) -> None:
    before = final_files(finished)

    def fail(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
        if folder.name == "final_model":
            write_to_a_full_disk(tokenizer, folder)

    with after_the_tokenizer(fail):
        sitting = again(finished)
    (ended,) = sitting.of(RunEnded)
    assert (ended.status, ended.exit_code, ended.transient) == ("failed", 1, True)
    assert "final_model could not be written: No space left on device" in (ended.error or "")
    assert final_files(finished) == before


def test_a_final_model_that_cannot_be_moved_to_its_place_leaves_the_old_one(
    finished: Sitting, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, final, plain = final_files(finished), finished.output / "final_model", Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name == "final_model" and path != final:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return plain(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        sitting = again(finished)
    assert sitting.of(RunEnded)[0].status == "failed"
    assert final_files(finished) == before


def test_no_final_model_is_made_of_weights_that_are_not_finite(finished: Sitting) -> None:
    """A checkpoint of another program has them, and nothing is left to train."""
    before = final_files(finished)
    file = finished.output / "checkpoint-2" / "adapter_model.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).fill_(math.nan)
    save_file(weights, file, metadata={"format": "pt"})
    sign(file.parent)
    sitting = again(finished)
    (ended,) = sitting.of(RunEnded)
    assert (ended.status, ended.exit_code, ended.transient) == ("failed", 2, False)
    assert "that are not finite" in (ended.error or "")
    assert final_files(finished) == before
    shutil.rmtree(finished.output / "final_model")
    assert again(finished).exit_code == 2
    assert not (finished.output / "final_model").exists()
