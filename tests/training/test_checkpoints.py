import hashlib
import json
import queue
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
from kto_tui.training.checkpoints import CheckpointStore, WriteFailed, read_manifest
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
    with pytest.raises(WriteFailed, match="No such file"):
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


def test_a_damaged_manifest_counts_as_old(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-7"
    folder.mkdir()
    (folder / "manifest.json").write_text("{")
    assert read_manifest(folder) == Saved(folder, 7, "scheduled", 0.0)


def test_age_is_the_time_of_writing() -> None:
    """After a resume from an early step, low steps are the newest."""
    old = [Saved(Path(f"checkpoint-{step}"), step, "scheduled", float(step)) for step in (20, 30)]
    new = Saved(Path("checkpoint-15"), 15, "scheduled", 99.0)
    assert [saved.step for saved in surplus([*old, new], 2, ())] == [20]
    assert surplus([*old, new], 2, [Path("checkpoint-20")]) == []
