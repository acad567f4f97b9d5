"""A run that gets no better ends by itself, with the best it had."""

import json
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.config import RunConfig
from kto_tui.core.events import AlertRaised, CheckpointSaved, Evaluated, Event, RunEnded, StepLogged
from kto_tui.training.resumed import last_metrics
from tests.real_worker.harness import Sitting, at_step, sit, tiny, write_rows


def config(folder: Path, *, turned: bool = True, **changes: Any) -> RunConfig:
    """The rows trained on are evaluated too, labelled the other way round: what is learned makes it worse."""
    folder.mkdir(exist_ok=True)
    lines = Path(write_rows(folder / "rows.jsonl", 22)).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    turned_rows = [json.dumps({**row, "label": row["label"] != turned}) for row in rows]
    (folder / "eval.jsonl").write_text("\n".join(turned_rows), encoding="utf-8")
    settings = {
        "eval_dataset": str(folder / "eval.jsonl"),
        "eval_steps": 2,
        "save_steps": 100,
        "save_total_limit": 1,
        "early_stopping_patience": 2,
        "max_steps": 12,
        "warmup_ratio": 0,
        "learning_rate": 2e-3,
    }
    return tiny(folder, **{**settings, **changes})


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Sitting:
    return sit(config(tmp_path_factory.mktemp("stopped")))


def losses(sitting: Sitting) -> dict[int, Any]:
    return {event.step: event.metrics["loss"] for event in sitting.of(Evaluated)}


def alerts(sitting: Sitting) -> list[tuple[str, int | None, str]]:
    return [(alert.kind, alert.step, alert.message) for alert in sitting.of(AlertRaised)]


def test_it_ends_when_the_patience_has_run_out(stopped: Sitting) -> None:
    found = losses(stopped)
    assert found[2] < found[4] < found[6]
    (ended,) = stopped.of(RunEnded)
    assert (ended.status, ended.step, ended.error, ended.exit_code) == ("completed", 6, None, 0)
    assert [step.step for step in stopped.of(StepLogged)] == [1, 2, 3, 4, 5, 6]
    (kind, step, message), taken = alerts(stopped)
    assert (kind, step) == ("stopped_early", 6)
    assert f"the best was {found[2]:.4f} at step 2" in message
    assert taken == (
        "final_is_best",
        6,
        f"step 2 was evaluated best (loss {found[2]:.4f}): the final model is of that step",
    )


def test_the_final_model_is_the_best_one(stopped: Sitting) -> None:
    assert stopped.adapter("final_model") == stopped.adapter("checkpoint-2")
    assert stopped.adapter("final_model") != stopped.adapter("checkpoint-6")
    card = (stopped.output / "final_model" / "README.md").read_text(encoding="utf-8")
    assert "for 2 steps" in card
    best = last_metrics(stopped.output / "checkpoint-2")
    assert f"| 2 | {best['loss']:.4g} |" in card
    assert "\n| 3 | " not in card


@pytest.mark.parametrize("save_steps", [100, 1])
def test_the_best_checkpoint_outlives_the_rotation(tmp_path: Path, save_steps: int) -> None:
    sitting = sit(config(tmp_path, save_steps=save_steps))
    assert sitting.checkpoints == {"checkpoint-2", "checkpoint-6"}
    reasons = {event.step: event.reason for event in sitting.of(CheckpointSaved)}
    assert reasons[2] == "best"
    assert reasons[6] != "best"


def test_a_run_that_gets_better_goes_on_to_its_end(tmp_path: Path) -> None:
    """Of the checkpoints that were the best, the last one alone is kept."""
    sitting = sit(config(tmp_path, turned=False, max_steps=8))
    found = losses(sitting)
    assert found[2] > found[4] > found[6] > found[8]
    assert alerts(sitting) == []
    assert sitting.of(RunEnded)[0].step == 8
    assert sitting.adapter("final_model") == sitting.adapter("checkpoint-8")
    assert "checkpoint-2" not in sitting.checkpoints


def test_a_requested_checkpoint_does_not_cost_the_best_one(tmp_path: Path) -> None:
    """Asked for at the very step of the best evaluation, and at a later one."""

    def ask(event: Event, sitting: Sitting) -> None:
        if isinstance(event, StepLogged) and event.step in (2, 4):
            sitting.ask("checkpoint")

    sitting = sit(config(tmp_path, save_steps=1), ask)
    assert sitting.checkpoints == {"checkpoint-2", "checkpoint-4", "checkpoint-6"}
    assert sitting.adapter("final_model") == sitting.adapter("checkpoint-2")


def test_a_resume_of_it_trains_no_further(tmp_path: Path, stopped: Sitting) -> None:
    first = sit(config(tmp_path))
    again = sit(config(tmp_path, resume_from_checkpoint=str(first.output / "checkpoint-6")))
    assert again.of(StepLogged) == []
    assert [kind for kind, *_ in alerts(again)] == ["nothing_left_to_train", "final_is_best"]
    assert "--early-stopping-patience 2 had run out" in alerts(again)[0][2]
    (ended,) = again.of(RunEnded)
    assert (ended.status, ended.step) == ("completed", 6)
    assert again.adapter("final_model") == stopped.adapter("final_model")


def test_a_resume_with_more_patience_goes_on(tmp_path: Path) -> None:
    first = sit(config(tmp_path))
    path = str(first.output / "checkpoint-6")
    again = sit(config(tmp_path, resume_from_checkpoint=path, early_stopping_patience=3))
    assert [step.step for step in again.of(StepLogged)] == [7, 8]
    (changed, *_), (kind, step, message), _ = alerts(again)
    assert changed == "settings_changed"
    assert (kind, step) == ("stopped_early", 8)
    assert "at step 2" in message
    assert again.adapter("final_model") == again.adapter("checkpoint-2")


def test_the_patience_counts_on_after_a_resume(tmp_path: Path, stopped: Sitting) -> None:
    def stop(event: Event, sitting: Sitting) -> None:
        if isinstance(event, Evaluated) and event.step == 4:
            sitting.ask("stop")

    first = sit(config(tmp_path), stop)
    assert first.of(RunEnded)[0].step == 5
    again = sit(config(tmp_path, resume_from_checkpoint=str(first.output / "checkpoint-5")))
    assert losses(again) == {6: losses(stopped)[6]}
    assert alerts(again) == alerts(stopped)
    assert again.adapter("final_model") == stopped.adapter("final_model")


def test_a_best_one_that_is_gone_is_not_claimed(tmp_path: Path) -> None:
    """As where the disk was full: the final model is the last one then, and card and run say so."""

    def remove(event: Event, sitting: Sitting) -> None:
        if isinstance(event, Evaluated) and event.step == 6:
            (sitting.output / "checkpoint-2").rename(tmp_path / "elsewhere")

    sitting = sit(config(tmp_path), remove)
    assert "its checkpoint is not there" in alerts(sitting)[-1][2]
    assert sitting.of(RunEnded)[0].status == "completed"
    assert sitting.adapter("final_model") == sitting.adapter("checkpoint-6")
    kind, step, message = alerts(sitting)[-1]
    assert (kind, step) == ("final_is_best", 6)
    assert "its checkpoint is not there: the final model is of step 6" in message
    assert "for 6 steps" in (sitting.output / "final_model" / "README.md").read_text(encoding="utf-8")


def test_a_finished_run_that_is_resumed_keeps_its_best(tmp_path: Path) -> None:
    """It ends by its steps while there is patience left; resuming it changes nothing."""
    patient: dict[str, Any] = {"early_stopping_patience": 9, "max_steps": 5}
    first = sit(config(tmp_path, **patient))
    assert first.adapter("final_model") == first.adapter("checkpoint-2")
    again = sit(config(tmp_path, resume_from_checkpoint=str(first.output / "checkpoint-5"), **patient))
    assert again.adapter("final_model") == first.adapter("checkpoint-2")


def test_the_best_may_lie_in_the_run_that_is_gone_on_from(tmp_path: Path) -> None:
    first = sit(config(tmp_path / "first"))
    path = str(first.output / "checkpoint-6")
    branch = sit(config(tmp_path / "branch", resume_from_checkpoint=path, early_stopping_patience=3))
    assert branch.of(RunEnded)[0].step == 8
    assert branch.adapter("final_model") == first.adapter("checkpoint-2")


def test_the_best_of_the_run_that_was_branched_from_is_found_after_a_restart(tmp_path: Path) -> None:
    """The first sitting goes on from another folder, the second from this one: the best lies in neither's."""
    first = sit(config(tmp_path / "a"), at_step(3, "stop"))
    branch: dict[str, Any] = {"output_dir": str(tmp_path / "b"), "save_steps": 1}
    (tmp_path / "b").mkdir()
    path = str(first.output / f"checkpoint-{first.of(RunEnded)[0].step}")
    assert first.of(RunEnded)[0].step > 2
    second = sit(config(tmp_path / "a", resume_from_checkpoint=path, **branch), at_step(4, "stop"))
    path = str(tmp_path / "b" / f"checkpoint-{second.of(RunEnded)[0].step}")
    third = sit(config(tmp_path / "a", resume_from_checkpoint=path, **branch))
    assert third.adapter("final_model") == first.adapter("checkpoint-2")
