"""The disk or the clock fails while checkpoints make room for a new one: none is lost that may be of use."""

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.events import CheckpointFailed, CheckpointSaved, Event, SaveReason
from kto_tui.training.checkpoints import WriteFailed
from tests.training.test_checkpoints import Heard, names, save, store, writer


def unreadable(path: Path, patch: pytest.MonkeyPatch) -> None:
    """Opening the file fails, as on a disk with a bad moment."""
    plain = os.open

    def failing(opened: str | Path, *args: Any, **kwargs: Any) -> int:
        if Path(opened) == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return plain(opened, *args, **kwargs)

    patch.setattr(os, "open", failing)


def test_a_pinned_one_that_cannot_be_read_for_a_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store(tmp_path, Heard(), limit=1)
    save(kept, 1, "requested")
    save(kept, 2)
    with monkeypatch.context() as patch:
        unreadable(tmp_path / "checkpoint-1" / "manifest.json", patch)
        save(kept, 3)
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-3"]
    save(kept, 4)
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-4"]


@pytest.mark.parametrize("reason", ["scheduled", "requested"])
def test_one_that_was_passed_over_and_is_whole_after_all_stays(tmp_path: Path, reason: SaveReason) -> None:
    kept = store(tmp_path, Heard())
    save(kept, 1)
    save(kept, 2, reason)
    again = store(tmp_path, Heard(), limit=3, resumed=tmp_path / "checkpoint-1")
    save(again, 3)
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]


def test_one_that_was_passed_over_and_still_cannot_be_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store(tmp_path, Heard())
    save(kept, 1)
    save(kept, 2)
    again = store(tmp_path, Heard(), resumed=tmp_path / "checkpoint-1")
    unreadable(tmp_path / "checkpoint-2" / "adapter.bin", monkeypatch)
    save(again, 3)
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]


def test_a_damaged_pinned_one_stays(tmp_path: Path) -> None:
    """It was asked for by name: whether it goes is the user's to say."""
    kept = store(tmp_path, Heard())
    save(kept, 1)
    save(kept, 2, "requested")
    (tmp_path / "checkpoint-2" / "adapter.bin").write_bytes(b"changed")
    again = store(tmp_path, Heard(), limit=1, resumed=tmp_path / "checkpoint-1")
    save(again, 3)
    save(again, 4)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-4"]


class FailingOnceSaved(Heard):
    """The folder cannot be listed any more once a checkpoint is saved: as rotation begins."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._folder, self._monkeypatch = folder, monkeypatch

    def put_nowait(self, item: Event) -> None:
        super().put_nowait(item)
        if isinstance(item, CheckpointSaved):
            plain = Path.iterdir

            def failing(path: Path) -> Any:
                if path == self._folder:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                return plain(path)

            self._monkeypatch.setattr(Path, "iterdir", failing)


def test_a_folder_that_cannot_be_listed_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        events = FailingOnceSaved(tmp_path, patch)
        save(store(tmp_path, events), 2)
    (failed,) = events.of(CheckpointFailed)
    assert isinstance(failed, CheckpointFailed)
    assert failed.error == "older checkpoints could not be deleted: Input/output error"
    assert names(tmp_path) == ["checkpoint-2"]


def test_one_that_cannot_be_moved_to_its_place_leaves_the_old_one_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store(tmp_path, Heard()), 5)
    again = store(tmp_path, Heard())
    plain = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path == again.staging / "checkpoint-5":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return plain(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(WriteFailed, match="Input/output error"):
        again.save(5, "scheduled", writer(again, 5, b"new"))
    assert names(tmp_path) == ["checkpoint-5"]
    assert (tmp_path / "checkpoint-5" / "adapter.bin").read_bytes() == b"weights"


def test_a_clock_that_is_set_back_makes_nothing_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store(tmp_path, Heard())
    for step in (1, 2, 3):
        save(kept, step)
    plain = time.time
    monkeypatch.setattr(time, "time", lambda: plain() - 3600)
    again = store(tmp_path, Heard(), resumed=tmp_path / "checkpoint-3")
    for step, left in ((4, [3, 4]), (5, [4, 5]), (6, [5, 6])):
        save(again, step)
        assert names(tmp_path) == [f"checkpoint-{each}" for each in left]
