"""Events folded into the state of a run, and the views on it."""

from pathlib import Path

from kto_tui.core.commands import CommandName
from kto_tui.core.events import (
    AnyEvent,
    CheckpointDeleted,
    CheckpointSaved,
    CommandDone,
    Progress,
    RunEnded,
    RunStarted,
    StageChanged,
    StepLogged,
)
from kto_tui.insight.lines import Asked, notices
from kto_tui.insight.state import RunState, apply, fold
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
