"""Events folded into the state of a run, and the views on it."""

from pathlib import Path

import msgspec
import pytest

from kto_tui.core.commands import CommandName
from kto_tui.core.events import (
    AlertRaised,
    AnyEvent,
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointPinned,
    CheckpointSaved,
    CommandDone,
    Evaluated,
    Progress,
    RunEnded,
    RunStarted,
    StageChanged,
    StepLogged,
)
from kto_tui.insight.lines import Asked, notices
from kto_tui.insight.state import KEPT, RunState, apply, fold
from kto_tui.insight.view import ending_view, progress_view, resume_command, shown_status


def begun(at: float) -> RunStarted:
    return RunStarted(time=at, run_id="x", versions={}, host="", devices=())


def stage(name: str, at: float) -> StageChanged:
    return StageChanged(stage=name, time=at)  # type: ignore[arg-type]


def logged(step: int, at: float, eta: float | None = None) -> StepLogged:
    return StepLogged(time=at, step=step, total_steps=100, epoch=0.0, metrics={}, eta_seconds=eta)


def test_folding_in_parts_is_folding_at_once() -> None:
    events: list[AnyEvent] = [
        begun(0),
        stage("training", 5),
        logged(5, 10),
        stage("paused", 12),
        stage("training", 20),
    ]
    state = RunState()
    for event in events:
        state = apply(state, event)
    assert state == fold(events)
    assert state.last_time == 20


def test_holds_do_not_count_as_elapsed() -> None:
    state = fold([begun(0), stage("training", 10), stage("paused", 20), stage("training", 50)])
    assert state.elapsed_seconds(60) == 30
    held = apply(state, stage("parked", 60))
    assert held.elapsed_seconds(1000) == 30
    ended = apply(held, RunEnded(time=1000, status="stopped", step=5, seconds=30))
    assert ended.elapsed_seconds(5000) == 30


def test_a_new_sitting_begins_its_own_clock() -> None:
    first: list[AnyEvent] = [
        begun(0),
        stage("training", 1),
        logged(5, 10),
        RunEnded(time=20, status="stopped", step=5, seconds=20),
    ]
    state = fold([*first, begun(1000)])
    assert state.elapsed_seconds(1010) == 10
    assert state.sittings == 2
    assert (state.step, state.total_steps) == (0, None)
    assert state.status(alive=True) != "stopped"
    resumed = RunStarted(run_id="r", versions={}, host="h", devices=(), resumed_from="out/checkpoint-4")
    assert fold([*first, resumed]).step == 4


def test_the_step_is_the_newest_that_was_reached() -> None:
    saved = CheckpointSaved(step=7, path="checkpoint-7", bytes=1, seconds=1, reason="paused")
    deleted = CheckpointDeleted(step=2, path="checkpoint-2")
    state = fold([begun(0), stage("training", 1), logged(5, 10), saved, deleted])
    assert (state.step, state.total_steps) == (7, 100)
    state = fold([Progress(stage="training", done=8, total=10), stage("saving", 9)], state)
    assert state.step == 8


def test_a_run_that_never_began_and_is_not_alive_has_died() -> None:
    assert RunState().status(alive=False) == "died"
    assert RunState().status(alive=True) == "starting"


def test_the_eta_counts_down_while_running_only() -> None:
    state = fold([begun(0), stage("training", 1), logged(5, 10, eta=100)])
    assert progress_view(state, "running", 40).eta_seconds == 70
    assert progress_view(state, "running", 500).eta_seconds == 0
    assert progress_view(state, "paused", 500).eta_seconds == 100
    resumed = fold([begun(600), stage("training", 601)], state)
    assert progress_view(resumed, "running", 602).eta_seconds is None


def test_progress_of_training_moves_the_step_between_rows() -> None:
    state = fold([begun(0), stage("training", 1), logged(5, 10)])
    state = apply(state, Progress(time=20, stage="training", done=8, total=100))
    view = progress_view(state, "running", 21)
    assert view.steps == "step 8/100"
    assert view.fraction == 0.08


def test_nothing_is_claimed_before_the_journal_is_read() -> None:
    state = fold([begun(0), stage("training", 1)])
    assert shown_status(state, alive=False, caught_up=False, opened=0) == "reading"
    assert shown_status(state, alive=False, caught_up=True, opened=0) == "died"


def test_a_path_in_the_resume_command_is_quoted() -> None:
    command = resume_command(Path("my run; rm -rf x"))
    assert command == "kto-tui --resume-from-checkpoint latest --output-dir 'my run; rm -rf x'"


def test_a_wrong_request_is_told_without_a_resume() -> None:
    state = fold(
        [begun(0), RunEnded(time=1, status="failed", step=0, seconds=1, error="no such model", exit_code=2)]
    )
    view = ending_view(state, "failed", Path("out"), ())
    assert view is not None
    assert view.reason == "no such model"
    assert view.advice == ""


def said(state: RunState, *asked: Asked, over: bool = False) -> list[str]:
    return ["".join(piece.text for piece in line[1:]) for line in notices(state, asked, over)]


def asked(name: CommandName, at: float, id: str = "a") -> Asked:
    return Asked(name, at, id)


def test_a_request_is_what_the_run_made_of_it() -> None:
    state = fold([begun(0), stage("training", 1)])
    request = asked("pause", 5)
    assert said(state, request) == ["… pause asked, waiting for the run"]
    done = apply(state, CommandDone(time=9, id="a", command="pause", outcome="done", detail="at step 6"))
    assert said(done, request) == ["✓ pause done: at step 6"]
    rejected = apply(state, CommandDone(time=9, id="a", command="pause", outcome="rejected", detail="no"))
    assert said(rejected, request) == ["✗ pause rejected: no"]


def test_a_request_of_an_earlier_sitting_stops_waiting() -> None:
    state = fold([begun(0), begun(100)])
    assert said(state, asked("stop", 50)) == ["✗ stop: no answer before the run ended"]
    assert said(state, asked("stop", 150)) == ["… stop asked, waiting for the run"]


def saved(step: int, reason: str = "scheduled", at: float = 0) -> CheckpointSaved:
    return CheckpointSaved(time=at, step=step, path=f"checkpoint-{step}", bytes=1, seconds=1, reason=reason)  # type: ignore[arg-type]


def test_checkpoints_are_those_that_are_there_and_the_pinned_ones_are_known() -> None:
    events: list[AnyEvent] = [
        saved(10), saved(20), saved(30, "requested"),
        CheckpointPinned(step=20, path="p"), CheckpointPinned(step=99, path="p"),
        CheckpointDeleted(step=10, path="p"), CheckpointDeleted(step=98, path="p"),
    ]  # fmt: skip
    state = fold(events)
    assert [(event.step, event.reason) for event in state.checkpoints] == [
        (20, "requested"), (30, "requested"),
    ]  # fmt: skip
    assert state.checkpoint_events == len(state.checkpoint_log) == 7


def test_a_step_of_more_digits_than_can_be_read_is_none() -> None:
    name = "checkpoint-" + "9" * 5000
    started = RunStarted(run_id="x", versions={}, host="", devices=(), resumed_from=name)
    assert fold([started]).step == 0


# A worker that is started again after a fault


def resumed(at: float, step: int) -> RunStarted:
    return RunStarted(
        time=at, run_id="y", versions={}, host="", devices=(), resumed_from=f"out/checkpoint-{step}"
    )


def broken() -> RunState:
    """At step 60 the worker dies, at 1000 seconds."""
    events: list[AnyEvent] = [
        begun(0), stage("training", 100), logged(50, 900, eta=800), saved(50, at=902),
        logged(60, 990, eta=700), stage("restarting", 1000),
    ]  # fmt: skip
    return fold(events)


def test_a_worker_that_is_started_again_reads_as_starting_and_then_running() -> None:
    state = broken()
    assert state.status(alive=True) == "restarting"
    view = progress_view(state, "restarting", 1005)
    assert view.label == "the worker is about to be started again, 5s"
    assert view.eta_seconds is None
    state = fold([resumed(1010, 50), stage("loading_model", 1011)], state)
    assert state.status(alive=True) == "starting"
    assert (state.step, progress_view(state, "starting", 1012).steps) == (50, "step 50")
    state = apply(state, stage("training", 1100))
    assert state.status(alive=True) == "running"
    assert progress_view(state, "running", 1101).eta_seconds is None
    state = apply(state, logged(60, 1200, eta=650))
    view = progress_view(state, "running", 1210)
    assert (view.steps, view.fraction, view.eta_seconds) == ("step 60/100", 0.6, 640)
    assert view.elapsed_seconds == 1210


def test_a_restart_by_hand_after_the_supervisor_was_killed_begins_its_own_clock() -> None:
    state = apply(broken(), resumed(90_000, 50))
    assert state.elapsed_seconds(90_010) == 10


def test_a_request_waits_on_while_the_worker_is_started_again() -> None:
    state = apply(broken(), resumed(1010, 50))
    assert said(state, asked("pause", 500)) == ["… pause asked, waiting for the run"]
    state = apply(state, resumed(90_000, 50))
    assert said(state, asked("pause", 500)) == ["✗ pause: no answer before the run ended"]


def test_evaluations_of_steps_that_are_done_again_are_forgotten() -> None:
    state = fold(
        [begun(0), Evaluated(step=50, metrics={"loss": 0.5}), Evaluated(step=60, metrics={"loss": 0.1})]
    )
    assert [event.step for event in apply(state, resumed(9, 50)).evaluations] == [50]


# A clock that is set while the run goes on


def on(event: AnyEvent, uptime: float) -> AnyEvent:
    return msgspec.structs.replace(event, uptime=uptime)


@pytest.mark.parametrize("jump", [-1e6, -3600.0, 3600.0, 1e8])
def test_a_clock_that_is_set_changes_neither_eta_nor_elapsed(jump: float) -> None:
    at = 1e7
    events = [
        on(begun(at), 50),
        on(stage("training", at + 10), 60),
        on(logged(5, at + jump + 100, eta=1000), 150),
        on(stage("paused", at + jump + 110), 160),
        on(stage("training", at + 130), 180),
        on(stage("evaluating", at + 150), 200),
    ]
    state, now = fold(events), at + 160
    view = progress_view(state, "running", now)
    assert view.eta_seconds == 1000 - 60
    assert view.elapsed_seconds == 160 - 20
    assert view.label == "evaluating, 10s"


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_without_another_clock_nothing_runs_backwards(jump: float) -> None:
    at = 1e7
    state = fold(
        [begun(at), stage("training", at + 10), logged(5, at + jump, eta=100), stage("paused", at + 20)]
    )
    for now in (at - 1e6, at + 30, at + jump):
        view = progress_view(state, "paused", now)
        assert 0 <= view.elapsed_seconds <= 1_000_030
        assert view.eta_seconds == 100


def test_time_that_has_passed_is_not_taken_back() -> None:
    at, back = 1e7, 1e7 - 1e6
    state = fold([begun(at), stage("training", at + 10), logged(5, back), stage("saving", back + 10)])
    assert state.elapsed_seconds(back + 15) == 25


def test_events_that_were_overtaken_do_not_add_up() -> None:
    state = fold([begun(1000), stage("training", 1000)])
    for second in range(100):
        state = fold([logged(second, 1001.5 + second), stage("saving", 1001 + second)], state)
    assert state.elapsed_seconds(1101) == pytest.approx(101)


# Journals without end


def test_of_very_many_events_the_newest_stay() -> None:
    many = 3 * KEPT
    events: list[AnyEvent] = [begun(0)]
    for number in range(many):
        events += [
            AlertRaised(kind="k", severity="info", message=str(number)),
            CommandDone(id=str(number), command="pause", outcome="done"),
            saved(number),
            CheckpointFailed(step=number, path="p", error="e"),
            Evaluated(step=number, metrics={"loss": 1.0 if number else 0.5}),
        ]
    state = fold(events)
    for kept in (state.alerts, state.replies, state.checkpoint_log, state.evaluations, state.checkpoints):
        assert KEPT <= len(kept) <= 2 * KEPT + 1
    assert state.alerts[-1].message == state.evaluations[-1].step.__str__() == str(many - 1)
    assert state.checkpoint_events == 2 * many
    assert state.checkpoints[-1].step == many - 1
    assert str(many - 1) in state.replies
    best = state.best_evaluation
    assert best is not None
    assert best.step == 0
