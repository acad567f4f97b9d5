"""A worker that dies: started again where that helps, and not where it does not."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from kto_tui.core.events import AlertRaised, CheckpointSaved, Event, RunEnded, RunStarted, StageChanged
from kto_tui.core.manifest import problem_of
from kto_tui.insight.state import fold
from kto_tui.run import pulse, restarts, supervisor
from kto_tui.run.journal import read_journal
from kto_tui.run.restarts import Restarts
from kto_tui.run.supervisor import Supervisor
from tests.fakes import worker
from tests.run.test_supervisor import Script, ask, at_step, in_stage, live, make_run, replies


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(restarts, "_FIRST_SECONDS", 0.05)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def of(events: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_it_goes_on_from_the_newest_checkpoint(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=20, save_steps=10, auto_restart=2)
    ended = live(config, entry=worker.dies_at_seven)
    assert (ended.status, ended.exit_code) == ("completed", 0)
    events = read_journal(directory.events)
    begun = [event.resumed_from for event in events if isinstance(event, RunStarted)]
    assert begun == [None, str(directory.checkpoint(5))]
    (alert,) = (event for event in events if isinstance(event, AlertRaised))
    assert (alert.kind, alert.step) == ("worker_died", 7)
    assert "SIGKILL" in alert.message
    assert "restart 1 of 2" in alert.advice
    state = fold(events)
    assert (state.status(alive=False), state.step) == ("completed", 20)


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=20, save_steps=10, auto_restart=1)

    def damage(event: Event) -> None:
        if isinstance(event, CheckpointSaved) and event.step == 5:
            (directory.checkpoint(5) / "weights.bin").write_bytes(b"no")

    Supervisor(config, worker.dies_at_seven, [damage]).run()
    events = read_journal(directory.events)
    begun = [event.resumed_from for event in events if isinstance(event, RunStarted)]
    assert begun == [None, None]
    alerts = [event for event in events if isinstance(event, AlertRaised)]
    assert [alert.kind for alert in alerts][:2] == ["worker_died", "checkpoint_passed_over"]
    assert alerts[1].message.startswith(
        "checkpoint-5 is damaged and was passed over: weights.bin has 2 bytes"
    )


def test_it_is_not_started_more_often_than_asked(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, auto_restart=2)
    ended = live(config, entry=worker.dies_always)
    assert (ended.status, ended.exit_code) == ("failed", 1)
    assert len(of(list(read_journal(directory.events)), RunStarted)) == 3


def test_without_being_asked_it_is_not_started_at_all(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path)
    assert live(config, entry=worker.dies_always).status == "failed"
    assert len(of(list(read_journal(directory.events)), RunStarted)) == 1


@pytest.mark.parametrize(
    ("entry", "starts"), [("fails_lastingly", 1), ("refuses", 1), ("fails_passingly", 2)]
)
def test_what_would_only_come_again_is_not_tried_again(tmp_path: Path, entry: str, starts: int) -> None:
    config, directory = make_run(tmp_path, auto_restart=5)
    ended = live(config, entry=getattr(worker, entry))
    assert ended.status == "failed"
    assert len(of(list(read_journal(directory.events)), RunStarted)) == starts


def test_while_it_waits_a_stop_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "_FIRST_SECONDS", 600.0)
    config, directory = make_run(tmp_path, auto_restart=5)

    def both() -> None:
        ask(directory, "checkpoint")
        ask(directory, "stop")

    ended = live(config, Script((in_stage("restarting"), both)), worker.dies_always)
    assert ended.status == "stopped"
    assert replies(read_journal(directory.events)) == [("checkpoint", "rejected"), ("stop", "done")]


def test_a_worker_that_dies_while_it_is_to_stop_ends_the_run(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, auto_restart=5)
    runs = Supervisor(config, worker.never_listens)

    def kill(event: Event) -> None:
        if at_step(1)(event):
            ask(directory, "stop")
        if runs._stop_is_asked and runs._worker is not None:
            runs._worker.kill()

    runs._observers = [kill]
    assert runs.run().status == "failed"
    assert len(of(list(read_journal(directory.events)), RunStarted)) == 1


def test_each_restart_waits_longer_unless_the_run_got_further() -> None:
    policy = Restarts(9)
    died = RunEnded(status="failed", step=3, seconds=0, error="e", transient=True)
    further = RunEnded(status="failed", step=4, seconds=0, error="e", transient=True)
    assert [policy.next_delay(died) for _ in range(3)] == [0.05, 0.1, 0.2]
    assert policy.next_delay(further) == 0.05


@pytest.mark.parametrize("name", ["stop", "park"])
def test_a_worker_that_loads_is_not_waited_for(tmp_path: Path, name: str) -> None:
    config, directory = make_run(tmp_path)
    script = Script(
        (in_stage("loading_model"), lambda: ask(directory, name)),  # type: ignore[arg-type]
        (in_stage("parked"), lambda: ask(directory, "stop")),
    )
    began = time.monotonic()
    ended = live(config, script, worker.loads_for_ever)
    assert ended.status == "stopped"
    assert time.monotonic() - began < 15
    asked = [(name, "done")] if name == "stop" else [(name, "done"), ("stop", "done")]
    assert replies(read_journal(directory.events)) == asked


def test_sigterm_with_a_grace_is_urgent(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, grace_seconds=30.0)
    script = Script((in_stage("training"), lambda: os.kill(os.getpid(), signal.SIGTERM)))
    ended = live(config, script, worker.saves_when_urged)
    assert (ended.status, ended.exit_code) == ("stopped", 143)
    assert problem_of(directory.checkpoint(3)) is None


def test_a_worker_that_takes_longer_than_the_grace_is_ended(tmp_path: Path) -> None:
    config, _ = make_run(tmp_path, grace_seconds=0.5)
    script = Script((at_step(1), lambda: os.kill(os.getpid(), signal.SIGTERM)))
    ended = live(config, script, worker.never_listens)
    assert (ended.status, ended.exit_code) == ("stopped", 143)
    assert ended.error == (
        "SIGTERM: not saved within --grace-seconds 0.5; steps since the last checkpoint are lost"
    )


def test_sigusr1_asks_for_a_checkpoint_and_the_run_goes_on(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=200)
    script = Script((at_step(3), lambda: os.kill(os.getpid(), signal.SIGUSR1)))
    assert live(config, script).status == "completed"
    assert replies(read_journal(directory.events)) == [("checkpoint", "done")]


def test_a_worker_that_stands_still_is_told_of_with_its_stacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "LEAST_SECONDS", 1.0)
    monkeypatch.setattr(supervisor, "SAMPLE_SECONDS", 0.5)
    config, directory = make_run(tmp_path)

    def stuck(event: Event) -> bool:
        return isinstance(event, AlertRaised) and event.kind == "worker_stuck"

    live(config, Script((stuck, lambda: ask(directory, "stop"))), worker.stands_still)
    (alert,) = (event for event in read_journal(directory.events) if isinstance(event, AlertRaised))
    assert "waits_for_what_never_comes" in alert.detail
    assert "nothing was heard of the worker for" in alert.message
    assert "kill -9" in alert.advice
    assert [e.stage for e in read_journal(directory.events) if isinstance(e, StageChanged)] == ["training"]


def test_a_worker_that_has_failed_and_does_not_go_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CLOSING_SECONDS", 1.0)
    config, _ = make_run(tmp_path, max_steps=20, auto_restart=1)
    assert live(config, entry=worker.fails_and_stays).status == "completed"


def test_a_stop_between_a_failure_and_the_workers_end_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CLOSING_SECONDS", 1.0)
    config, directory = make_run(tmp_path, max_steps=20, auto_restart=5)

    def saved(event: Event) -> bool:
        return isinstance(event, CheckpointSaved)

    script = Script((saved, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    ended = live(config, script, worker.fails_and_stays)
    assert ended.status == "failed"
    assert len(of(list(read_journal(directory.events)), RunStarted)) == 1


def test_a_crash_at_the_same_step_is_not_tried_for_ever(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, auto_restart=9)
    assert "SIGSEGV" in (live(config, entry=worker.crashes_at_five).error or "")
    assert len(of(list(read_journal(directory.events)), RunStarted)) == 2


def test_a_park_while_it_wakes_answers_both(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path)

    def wake() -> None:
        ask(directory, "resume")
        ask(directory, "park")

    script = Script(
        (in_stage("loading_model"), lambda: ask(directory, "park")),
        (in_stage("parked"), wake),
        (in_stage("parked"), lambda: ask(directory, "stop")),
    )
    assert live(config, script, worker.parks_while_it_loads).status == "stopped"
    asked = sorted(replies(read_journal(directory.events)))
    assert asked == [("park", "done"), ("park", "done"), ("resume", "rejected"), ("stop", "done")]


def test_several_signals_at_once_end_a_parked_run_once(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path)

    runs = Supervisor(config, worker.parks_while_it_loads)

    def interrupt() -> None:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)

    def parked(_: Event) -> bool:
        return runs._parked and runs._worker is None

    runs._observers = [
        Script((in_stage("loading_model"), lambda: ask(directory, "park")), (parked, interrupt))
    ]
    ended = runs.run()
    assert (ended.status, ended.exit_code, ended.error) == ("stopped", 130, None)
    assert len(of(list(read_journal(directory.events)), RunEnded)) == 1


def test_a_run_that_was_started_again_is_not_thrown_away(tmp_path: Path) -> None:
    """A wrong request leaves no half-made folder; data that is gone later is another matter."""
    config, _ = make_run(tmp_path, auto_restart=1)
    runs = Supervisor(config, worker.refuses_the_second_time)
    assert runs.run().exit_code == 2
    assert runs.workers == 2


def test_checkpoints_of_which_nobody_spoke_are_told(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=20, save_steps=10)
    live(config)
    shutil.move(directory.checkpoint(10), directory.checkpoint(15))
    live(msgspec.structs.replace(config, resume_from_checkpoint=str(directory.checkpoint(20))))
    state = fold(read_journal(directory.events))
    assert [saved.step for saved in state.checkpoints] == [15, 20]
