import hashlib
import json
import os
import queue
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import (
    AlertRaised,
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointSaved,
    Event,
    SaveReason,
)
from kto_tui.training.checkpoints import CheckpointStore, WriteFailed
from kto_tui.training.emitter import Emitter
from kto_tui.training.rotation import Saved, surplus


class Heard(queue.Queue[Event]):
    def close(self) -> None: ...
    def join_thread(self) -> None: ...
    def cancel_join_thread(self) -> None: ...

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in list(self.queue) if isinstance(event, kind)]


def store(path: Path, events: Heard, limit: int = 2, resumed: Path | None = None) -> CheckpointStore:
    return CheckpointStore(RunDirectory(path), limit, Emitter(events), resumed)


def writer(store: CheckpointStore, step: int, content: bytes = b"weights") -> Callable[[], None]:
    def write() -> None:
        folder = store.staging / f"checkpoint-{step}"
        (folder / "nested").mkdir(parents=True)
        (folder / "adapter.bin").write_bytes(content)
        (folder / "nested" / "state.json").write_text("{}")

    return write


def save(store: CheckpointStore, step: int, reason: SaveReason = "scheduled") -> None:
    store.save(step, reason, writer(store, step))


def names(path: Path) -> list[str]:
    return sorted(child.name for child in path.iterdir())


def test_the_manifest_lists_every_file(tmp_path: Path) -> None:
    save(store(tmp_path, Heard()), 5)
    manifest = json.loads((tmp_path / "checkpoint-5" / "manifest.json").read_text())
    assert manifest["files"] == {
        "adapter.bin": {"bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()},
        "nested/state.json": {"bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()},
    }
    assert (manifest["step"], manifest["reason"]) == (5, "scheduled")
    assert names(tmp_path) == ["checkpoint-5"]


def test_a_step_is_written_once(tmp_path: Path) -> None:
    events = Heard()
    kept = store(tmp_path, events)
    save(kept, 5)
    save(kept, 5, "requested")
    assert len(events.of(CheckpointSaved)) == 1


def test_a_step_that_is_there_is_kept_when_it_is_asked_for(tmp_path: Path) -> None:
    kept = store(tmp_path, Heard(), limit=1)
    save(kept, 5)
    files = json.loads((tmp_path / "checkpoint-5" / "manifest.json").read_text())["files"]
    save(kept, 5, "requested")
    manifest = json.loads((tmp_path / "checkpoint-5" / "manifest.json").read_text())
    assert (manifest["reason"], manifest["files"]) == ("requested", files)
    assert names(tmp_path / "checkpoint-5") == ["adapter.bin", "manifest.json", "nested"]
    for step in (6, 7):
        save(kept, step)
    assert names(tmp_path) == ["checkpoint-5", "checkpoint-7"]


def test_a_checkpoint_that_cannot_be_kept_says_so(tmp_path: Path) -> None:
    kept = store(tmp_path, Heard())
    save(kept, 5)
    (tmp_path / "checkpoint-5" / "manifest.json").unlink()
    with pytest.raises(WriteFailed, match="no manifest"):
        kept.pin_last()


def test_a_failed_write_leaves_the_old_checkpoint_and_says_so(tmp_path: Path) -> None:
    events = Heard()
    save(store(tmp_path, events), 5)
    again = store(tmp_path, events)

    def fail() -> None:
        writer(again, 5, b"half")()
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteFailed, match="No space left"):
        again.save(5, "paused", fail)
    assert (tmp_path / "checkpoint-5" / "adapter.bin").read_bytes() == b"weights"
    assert names(tmp_path) == ["checkpoint-5"]
    assert len(events.of(CheckpointFailed)) == len(events.of(AlertRaised)) == 1


def test_a_checkpoint_of_another_branch_is_replaced(tmp_path: Path) -> None:
    save(store(tmp_path, Heard()), 5)
    again = store(tmp_path, Heard())
    again.save(5, "scheduled", writer(again, 5, b"new"))
    assert (tmp_path / "checkpoint-5" / "adapter.bin").read_bytes() == b"new"
    assert names(tmp_path) == ["checkpoint-5"]


def test_the_newest_are_kept_and_so_is_what_was_asked_for(tmp_path: Path) -> None:
    events = Heard()
    kept = store(tmp_path, events)
    for step, reason in ((1, "scheduled"), (2, "requested"), (3, "paused"), (4, "scheduled"), (5, "final")):
        save(kept, step, reason)  # type: ignore[arg-type]
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
    deleted = [e.step for e in events.of(CheckpointDeleted) if isinstance(e, CheckpointDeleted)]
    assert deleted == [1, 3]


def test_the_checkpoint_resumed_from_stays_until_there_is_a_newer_one(tmp_path: Path) -> None:
    first = store(tmp_path, Heard(), limit=1)
    save(first, 3)
    second = store(tmp_path, Heard(), limit=1, resumed=tmp_path / "checkpoint-3")
    second.clean()
    assert names(tmp_path) == ["checkpoint-3"]
    save(second, 4)
    assert names(tmp_path) == ["checkpoint-4"]


def test_leftovers_are_removed_and_strangers_are_not(tmp_path: Path) -> None:
    save(store(tmp_path, Heard()), 5)
    for name in ("checkpoint-9", ".staging/checkpoint-9", "checkpoint-best", "final_model"):
        (tmp_path / name).mkdir(parents=True)
    store(tmp_path, Heard()).clean()
    assert names(tmp_path) == ["checkpoint-5", "checkpoint-best", "final_model"]


def test_what_is_resumed_from_is_no_leftover(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-9").mkdir()
    store(tmp_path, Heard(), resumed=tmp_path / "checkpoint-9").clean()
    assert names(tmp_path) == ["checkpoint-9"]


def test_a_damaged_checkpoint_does_not_count_and_goes_first(tmp_path: Path) -> None:
    kept = store(tmp_path, Heard(), limit=2)
    for step in (1, 2, 3):
        save(kept, step)
    (tmp_path / "checkpoint-3" / "manifest.json").write_text("{")
    again = store(tmp_path, Heard(), limit=2, resumed=tmp_path / "checkpoint-2")
    save(again, 5)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-5"]


def test_one_that_a_resume_passed_over_goes_and_is_not_counted(tmp_path: Path) -> None:
    kept = store(tmp_path, Heard(), limit=2)
    for step in (1, 2):
        save(kept, step)
    (tmp_path / "checkpoint-2" / "adapter.bin").write_bytes(b"changed")
    again = store(tmp_path, Heard(), limit=2, resumed=tmp_path / "checkpoint-1")
    again.clean()
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2"]
    save(again, 3)
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-3"]


def test_a_crash_while_a_checkpoint_is_replaced_leaves_the_old_one(tmp_path: Path) -> None:
    save(store(tmp_path, Heard()), 5)
    staging = tmp_path / ".staging"
    staging.mkdir()
    (tmp_path / "checkpoint-5").rename(staging / "replaced-checkpoint-5")
    (staging / "checkpoint-5").mkdir()
    store(tmp_path, Heard()).clean()
    assert (tmp_path / "checkpoint-5" / "adapter.bin").read_bytes() == b"weights"
    assert names(tmp_path) == ["checkpoint-5"]


def test_what_was_asked_for_rotates_where_the_user_wants_it_so(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    kept = CheckpointStore(directory, 1, Emitter(Heard()), None, keep_requested=False)
    save(kept, 1, "requested")
    save(kept, 2)
    assert names(tmp_path) == ["checkpoint-2"]


def test_without_room_nothing_is_written_and_both_figures_are_told(tmp_path: Path) -> None:
    events = Heard()
    kept = store(tmp_path, events)
    wanted = 2 * shutil.disk_usage(tmp_path).free
    with pytest.raises(WriteFailed, match="No space left"):
        kept.save(5, "scheduled", writer(kept, 5), wanted)
    assert names(tmp_path) == []
    (alert,) = events.of(AlertRaised)
    assert isinstance(alert, AlertRaised)
    assert re.search(r"it needs [\d.]+ .B, and [\d.]+ .B are free", alert.message)
    save(kept, 6)
    assert names(tmp_path) == ["checkpoint-6"]


def test_what_does_not_read_back_as_written_is_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes a write and gives back something else: the old checkpoints must not make room."""
    events = Heard()
    kept = store(tmp_path, events, limit=1)
    save(kept, 1)
    sync = os.fsync

    def corrupting(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if name.endswith("adapter.bin"):
            os.pwrite(descriptor, b"?", 0)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", corrupting)
    with pytest.raises(WriteFailed, match=r"adapter\.bin is not what was written"):
        save(kept, 2)
    assert names(tmp_path) == ["checkpoint-1"]
    assert len(events.of(CheckpointFailed)) == 1


def test_age_is_the_time_of_writing() -> None:
    """After a resume from an early step, low steps are the newest."""
    old = [Saved(Path(f"checkpoint-{step}"), step, "scheduled", float(step)) for step in (20, 30)]
    new = Saved(Path("checkpoint-15"), 15, "scheduled", 99.0)
    assert [saved.step for saved in surplus([*old, new], 2, ())] == [20]
    assert surplus([*old, new], 2, [Path("checkpoint-20")]) == []
