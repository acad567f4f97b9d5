"""One tracker's thread: order, errors, hanging, what is not told, and what is remembered."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from kto_tui.core.config import RunConfig
from kto_tui.core.events import AlertRaised
from kto_tui.training.trackers import Trackers, together
from kto_tui.training.trackers.aside import Aside, harmless
from kto_tui.training.trackers.backends import BACKENDS, Backend, Opening
from kto_tui.training.trackers.memory import Memory, Remembered


def test_calls_are_made_in_order_and_waited_for() -> None:
    made: list[int] = []
    aside = Aside("some")
    for number in range(100):
        aside.post(lambda number=number: made.append(number))  # type: ignore[misc]
    assert aside.end(time.monotonic() + 10)
    assert made == [*range(100)]
    assert aside.problem is None


def test_nothing_is_called_after_an_error() -> None:
    made: list[int] = []
    aside = Aside("some")
    aside.post(lambda: [][0])
    aside.post(lambda: made.append(1))
    assert aside.end(time.monotonic() + 10)
    assert aside.problem == "IndexError: list index out of range"
    assert made == []


def wait_for(event: threading.Event) -> None:
    event.wait(30)


def test_one_that_hangs_is_left_behind() -> None:
    free, made = threading.Event(), list[int]()
    aside = Aside("some")
    aside.post(lambda: wait_for(free))
    aside.post(lambda: made.append(1))
    deadline = time.monotonic() + 10
    while not aside.hangs(0.01):
        assert time.monotonic() < deadline
    assert not aside.hangs(60)
    aside.give_up("no answer")
    began = time.monotonic()
    assert not aside.end(began + 10)
    assert time.monotonic() - began < 5  # Nobody waits for one that was given up.
    free.set()
    while not aside.end(0):
        assert time.monotonic() < deadline
    assert (aside.problem, made) == ("no answer", [])


def test_a_reason_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2hunter2")
    reason = harmless("401 for http://me:secret@host/api with hunter2hunter2" + "x" * 1000)
    assert reason.startswith("401 for http://host/api with $MLFLOW_TRACKING_PASSWORDx")
    assert len(reason) == 300


class Stuck(Backend):
    """A tracker that opens, and then takes nothing."""

    free = threading.Event()

    def begin(self, opening: Opening, args: Any, state: Any, model: Any) -> str:
        return opening.name

    def log(self, args: Any, state: Any, logs: dict[str, Any]) -> None:
        self.free.wait(30)

    def finish(self, *, failed: bool) -> None:
        raise AssertionError("it was given up")


def test_training_goes_past_a_tracker_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of once, also at the end, and nothing waits for it."""
    monkeypatch.setitem(BACKENDS, "mlflow", Stuck)
    monkeypatch.setattr(together, "HANG_SECONDS", 0.02)
    told: list[AlertRaised] = []
    trackers = Trackers(RunConfig(output_dir=str(tmp_path), report_to="mlflow"))
    deadline = time.monotonic() + 10
    step = 0
    while not told or step < 5:
        assert time.monotonic() < deadline
        step += 1
        state = SimpleNamespace(global_step=step)
        trackers.begin(told.append, None, state, None)
        trackers.log(None, state, {"loss": 1.0})
    began = time.monotonic()
    trackers.close(failed=False, seconds=20)
    assert time.monotonic() - began < 10
    Stuck.free.set()
    assert [alert.message for alert in told] == ["tracker mlflow: no answer for 0 s"]
    assert told[0].kind == "tracker_failed"


class Recorder(Backend):
    """A tracker that says which steps it was sent, and may die before it is closed."""

    sent: ClassVar[list[int]] = []
    dies = False

    def begin(self, opening: Opening, args: Any, state: Any, model: Any) -> str:
        return opening.before.id if opening.before else "id-1"

    def log(self, args: Any, state: Any, logs: dict[str, Any]) -> None:
        self.sent.append(state.global_step)

    def finish(self, *, failed: bool) -> None:
        if self.dies:
            raise RuntimeError("killed")


def sent_in_a_sitting(folder: Path, steps: range, **settings: Any) -> list[int]:
    """What a recorder is sent of these steps, behind the checkpoint before the first one."""
    Recorder.sent.clear()
    trackers = Trackers(RunConfig(output_dir=str(folder), report_to="mlflow", **settings))
    trackers.begin(lambda _: None, None, SimpleNamespace(global_step=steps[0] - 1), None)
    for step in steps:
        trackers.log(None, SimpleNamespace(global_step=step), {"loss": 1.0})
    trackers.close(failed=False, seconds=20)
    return [*Recorder.sent]


@pytest.mark.parametrize(
    ("buffers", "dies", "changed", "expected"),
    [
        (False, True, False, [7, 8]),
        (True, False, False, [7, 8]),
        (True, True, False, [3, 4, 5, 6, 7, 8]),
        (False, False, True, [3, 4, 5, 6, 7, 8]),
    ],
)
def test_steps_that_may_be_lost_or_others_are_sent_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    buffers: bool,
    dies: bool,
    changed: bool,
    expected: list[int],
) -> None:
    """What a tracker buffers is gone with a killed process; with other settings the curve is another."""
    monkeypatch.setitem(BACKENDS, "mlflow", Recorder)
    monkeypatch.setattr(Recorder, "buffers", buffers)
    monkeypatch.setattr(Recorder, "dies", dies)
    assert sent_in_a_sitting(tmp_path, range(1, 7)) == [1, 2, 3, 4, 5, 6]
    settings = {
        "resume_from_checkpoint": str(tmp_path / "checkpoint-2"),
        "allow_changed_settings": changed,
    }
    assert sent_in_a_sitting(tmp_path, range(3, 9), **settings) == expected


def test_a_folder_that_is_full_for_a_moment_ends_no_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(BACKENDS, "mlflow", Recorder)
    blocked = tmp_path / "trackers.new"
    blocked.mkdir()  # A file of that name cannot be written now.
    told: list[AlertRaised] = []
    trackers = Trackers(RunConfig(output_dir=str(tmp_path), report_to="mlflow"))
    trackers.begin(told.append, None, SimpleNamespace(global_step=0), None)
    for step in (1, 2):
        trackers.log(None, SimpleNamespace(global_step=step), {"loss": 1.0})
    deadline = time.monotonic() + 10
    while not caplog.records:
        assert time.monotonic() < deadline
    blocked.rmdir()
    trackers.log(None, SimpleNamespace(global_step=3), {"loss": 1.0})
    trackers.close(failed=False, seconds=20)
    assert told == []
    assert Memory(tmp_path, goes_on=True).of("mlflow", "kto-tui") == Remembered(
        "kto-tui", "id-1", {"train": 3}, 3, closed=True
    )


def test_what_is_remembered_belongs_to_the_run_that_goes_on(tmp_path: Path) -> None:
    """Another project, another folder, a new run and a damaged file all begin anew."""
    kept = Remembered("p", "id-1", {"train": 7}, 3)
    Memory(tmp_path, goes_on=False).keep("wandb", kept)
    assert Memory(tmp_path, goes_on=True).of("wandb", "p") == kept
    assert Memory(tmp_path, goes_on=True).of("wandb", "other") is None
    assert Memory(tmp_path, goes_on=False).of("wandb", "p") is None
    for damage in ("", "[1]", '{"wandb": {"id": 3}}', "[" * 10**5):
        (tmp_path / "trackers.json").write_text(damage)
        assert Memory(tmp_path, goes_on=True).of("wandb", "p") is None
    Memory(tmp_path, goes_on=True).keep("wandb", kept)
    Memory(tmp_path, goes_on=False).forget()
    assert [*tmp_path.iterdir()] == []
