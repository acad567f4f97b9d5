"""Requests to a running worker: each is answered once, when it is really done."""

import json
from pathlib import Path

from kto_tui.core.events import (
    CheckpointPinned,
    CheckpointSaved,
    Evaluated,
    Event,
    RunEnded,
    StageChanged,
    StepLogged,
)
from tests.real_worker.harness import Sitting, after_reply, at_step, both, sit, tiny, write_rows


def stages(sitting: Sitting) -> list[str]:
    return [event.stage for event in sitting.of(StageChanged)]


def test_a_forced_checkpoint_is_kept_and_training_goes_on(tmp_path: Path) -> None:
    config = tiny(tmp_path, max_steps=5, save_steps=1, save_total_limit=1)
    sitting = sit(config, at_step(1, "checkpoint"))
    assert sitting.replies == [("checkpoint", "done", "checkpoint-1")]
    assert [(event.step, event.path) for event in sitting.of(CheckpointPinned)] == [
        (1, str(sitting.output / "checkpoint-1"))
    ]
    assert sitting.of(RunEnded)[0].status == "completed"
    assert sitting.checkpoints == {"checkpoint-1", "checkpoint-5"}
    manifest = json.loads((sitting.output / "checkpoint-1" / "manifest.json").read_text())
    assert manifest["reason"] == "requested"


def test_a_checkpoint_asked_for_during_a_pause_is_kept(tmp_path: Path) -> None:
    steering = both(at_step(1, "pause"), after_reply("pause", "checkpoint", "resume"))
    sitting = sit(tiny(tmp_path, save_steps=1, save_total_limit=1), steering)
    assert sitting.replies[1] == ("checkpoint", "done", "already saved at step 1")
    assert sitting.checkpoints == {"checkpoint-1", "checkpoint-4"}


def test_a_checkpoint_that_cannot_be_kept_is_not_called_done(tmp_path: Path) -> None:
    def spoil(event: Event, sitting: Sitting) -> None:
        if isinstance(event, StageChanged) and event.stage == "paused":
            (sitting.output / "checkpoint-2" / "manifest.json").unlink()

    steering = both(at_step(1, "pause"), spoil, after_reply("pause", "checkpoint", "stop"))
    _, reply, _ = sit(tiny(tmp_path), steering).replies
    assert reply[:2] == ("checkpoint", "rejected")
    assert "not marked to stay" in reply[2]


def test_pause_holds_until_resume(tmp_path: Path) -> None:
    steering = both(
        at_step(1, "pause"),
        after_reply("pause", "checkpoint", "pause", "resume"),
        after_reply("resume", "resume"),
    )
    sitting = sit(tiny(tmp_path), steering)
    assert sitting.replies == [
        ("pause", "done", "checkpoint-2"),
        ("checkpoint", "done", "already saved at step 2"),
        ("pause", "rejected", "already paused"),
        ("resume", "done", ""),
        ("resume", "rejected", "not paused"),
    ]
    assert [(e.step, e.reason) for e in sitting.of(CheckpointSaved)] == [(2, "paused"), (4, "final")]
    assert stages(sitting)[stages(sitting).index("paused") + 1] == "training"
    assert sitting.of(RunEnded)[0].status == "completed"


def test_stop_while_paused(tmp_path: Path) -> None:
    sitting = sit(tiny(tmp_path), both(at_step(1, "pause"), after_reply("pause", "stop")))
    assert sitting.replies == [("pause", "done", "checkpoint-2"), ("stop", "done", "checkpoint-2")]
    (ended,) = sitting.of(RunEnded)
    assert (ended.status, ended.step, ended.exit_code) == ("stopped", 2, 0)
    assert sitting.checkpoints == {"checkpoint-2"}
    assert not (sitting.output / "final_model").exists()


def test_park_leaves_the_run_open(tmp_path: Path) -> None:
    sitting = sit(tiny(tmp_path), at_step(1, "park"))
    assert sitting.exit_code == 0
    assert not sitting.of(RunEnded)
    assert sitting.replies == [("park", "done", "checkpoint-2")]
    assert stages(sitting)[-1] == "parked"


def test_stop_before_the_first_step(tmp_path: Path) -> None:
    sitting = sit(tiny(tmp_path), ask_first=["checkpoint", "stop"])
    assert sitting.replies == [
        ("stop", "done", "no step was taken yet, so there is no checkpoint"),
        ("checkpoint", "rejected", "the run is ending"),
    ]
    assert sitting.of(RunEnded)[0].status == "stopped"
    assert not sitting.of(StepLogged)
    assert not sitting.checkpoints


def test_stop_while_tokenizing(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", 130)

    def stop_at_first_row(event: Event, sitting: Sitting) -> None:
        if isinstance(event, StageChanged) and event.stage == "preparing_data":
            sitting.ask("stop")

    sitting = sit(tiny(tmp_path), stop_at_first_row)
    assert sitting.of(RunEnded)[0].status == "stopped"
    assert "training" not in stages(sitting)


def test_what_is_asked_before_training_is_done_after_the_first_step(tmp_path: Path) -> None:
    sitting = sit(tiny(tmp_path), after_reply("pause", "resume"), ask_first=["resume", "pause"])
    assert sitting.replies == [
        ("resume", "rejected", "not paused"),
        ("pause", "done", "checkpoint-1"),
        ("resume", "done", ""),
    ]


def test_a_request_at_a_scheduled_step_writes_one_checkpoint(tmp_path: Path) -> None:
    sitting = sit(tiny(tmp_path, save_steps=2), at_step(1, "checkpoint", "pause", "resume"))
    assert [event.step for event in sitting.of(CheckpointSaved)] == [2, 4]
    assert [detail for _, _, detail in sitting.replies] == ["checkpoint-2", "checkpoint-2", ""]


def test_a_request_that_comes_too_late_is_answered(tmp_path: Path) -> None:
    def late(event: Event, sitting: Sitting) -> None:
        saving_the_model = isinstance(event, StageChanged) and event.stage == "saving"
        if saving_the_model and sitting.of(CheckpointSaved):
            sitting.ask("checkpoint")
            sitting.ask("stop")

    sitting = sit(tiny(tmp_path, max_steps=1), late)
    assert sitting.replies == [("checkpoint", "done", "checkpoint-1")]  # The supervisor answers the stop.
    manifest = json.loads((sitting.output / "checkpoint-1" / "manifest.json").read_text())
    assert manifest["reason"] == "requested"
    assert sitting.of(RunEnded)[0].status == "completed"


def test_stop_does_not_wait_for_an_evaluation(tmp_path: Path) -> None:
    def stop(event: Event, sitting: Sitting) -> None:
        if isinstance(event, StageChanged) and event.stage == "evaluating":
            sitting.ask("stop")

    evaluation = write_rows(tmp_path / "eval.jsonl", 40)
    sitting = sit(tiny(tmp_path, eval_dataset=evaluation, eval_steps=2), stop)
    assert sitting.replies == [("stop", "done", "checkpoint-2")]
    assert not sitting.of(Evaluated)
    assert sitting.of(RunEnded)[0].status == "stopped"


def test_without_a_supervisor_the_run_saves_and_leaves(tmp_path: Path) -> None:
    def vanish(event: Event, sitting: Sitting) -> None:
        if isinstance(event, StepLogged) and event.step == 1:
            sitting.alive = False

    sitting = sit(tiny(tmp_path), vanish)
    assert [(e.step, e.reason) for e in sitting.of(CheckpointSaved)] == [(1, "stopped")]
    assert not sitting.of(RunEnded)


def test_without_a_supervisor_a_paused_run_leaves(tmp_path: Path) -> None:
    def vanish(event: Event, sitting: Sitting) -> None:
        if isinstance(event, StageChanged) and event.stage == "paused":
            sitting.alive = False

    sitting = sit(tiny(tmp_path), both(at_step(1, "pause"), vanish))
    assert sitting.checkpoints == {"checkpoint-2"}
    assert not sitting.of(RunEnded)


def test_what_is_asked_while_a_checkpoint_is_written_is_answered_with_it(tmp_path: Path) -> None:
    """Not at the next step, which may be a minute away."""

    def stop_while_saving(event: Event, sitting: Sitting) -> None:
        if isinstance(event, StageChanged) and event.stage == "saving" and not sitting.of(CheckpointSaved):
            sitting.ask("stop")

    sitting = sit(tiny(tmp_path, save_steps=2), stop_while_saving)
    assert sitting.replies == [("stop", "done", "checkpoint-2")]
    assert sitting.of(RunEnded)[0].step == 2
