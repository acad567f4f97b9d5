"""Memory that runs out in the middle of a run: less at once, and the same run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kto_tui.core.config import RunConfig
from kto_tui.core.events import AlertRaised, Evaluated, RunEnded, StepLogged
from tests.real_worker.harness import Sitting, at_step, sit, tiny, write_rows
from tests.real_worker.scarce import Scarce, failing_at, patched, sit_scarcely

NOT_EXACT = {"samples_per_second", "tokens_per_second", "gpu_memory_bytes"}
# The first step is to move something, and decay what it moves.
SETTINGS = {
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0,
    "weight_decay": 0.1,
    "gradient_checkpointing": "off",
}
# Two blocks a step, so that z takes a pass of its own; 24 rows, so that all have 4.
TWICE: dict[str, Any] = {"gradient_accumulation_steps": 2, "max_steps": 5}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sitting]:
    """The same runs with room for all."""
    kinds: dict[str, dict[str, Any]] = {
        "once": {},
        "twice": TWICE,
        "micro_batch": {**TWICE, "kl_scope": "micro_batch"},
        "8bit": {"optim": "adamw_8bit"},
        "evaluated": {"eval_steps": 2},
    }
    return {kind: sit(config(tmp_path_factory.mktemp(kind), **changes)) for kind, changes in kinds.items()}


def config(folder: Path, **changes: Any) -> RunConfig:
    folder.mkdir(exist_ok=True)
    write_rows(folder / "rows.jsonl", 24)
    if "eval_steps" in changes:
        changes["eval_dataset"] = write_rows(folder / "eval.jsonl", 9)
    return tiny(folder, **{**SETTINGS, **changes})


def alerts(sitting: Sitting) -> list[tuple[int | None, str]]:
    found = sitting.of(AlertRaised)
    assert {(alert.kind, alert.severity) for alert in found} <= {("out_of_memory", "warning")}
    assert all(alert.advice for alert in found)
    return [(alert.step, alert.message) for alert in found]


def halved(*steps: int) -> list[tuple[int | None, str]]:
    """The alerts of 4 rows, then 2, made fewer at those steps."""
    return [
        (
            step,
            f"out of memory: the micro-batch is now {before // 2} rows instead of {before}, and there are "
            "twice as many of them; the step is done again",
        )
        for step, before in zip(steps, (4, 2), strict=False)
    ]


def assert_same_run(found: Sitting, wanted: Sitting) -> None:
    """Steps, schedule, figures and weights, up to what another shape of a matrix product rounds."""
    assert found.of(RunEnded)[0].status == "completed", found.of(RunEnded)[0].error
    ours, theirs = found.of(StepLogged), wanted.of(StepLogged)
    assert [(s.step, s.total_steps, s.epoch) for s in ours] == [
        (s.step, s.total_steps, s.epoch) for s in theirs
    ]
    for step, other in zip(ours, theirs, strict=True):
        assert step.metrics.keys() == other.metrics.keys()
        for name in step.metrics.keys() - NOT_EXACT:
            # In the first step all rewards are 0 but for rounding, so any order of them is right.
            loose = name == "rewards/auc"
            about = pytest.approx(other.metrics[name], rel=1e-5, abs=1e-5)
            assert loose or step.metrics[name] == about, (step.step, name)
        for name in ("learning_rate", "num_tokens"):
            assert step.metrics[name] == other.metrics[name]
    last = [run[-1].metrics["rewards/auc"] for run in (ours, theirs)]
    assert last[0] == pytest.approx(last[1], abs=0.05)
    assert distance(found, wanted) < 1e-4


def distance(found: Sitting, wanted: Sitting) -> float:
    """Of the final weights, relative to their size."""
    ours, theirs = (
        load_file(run.output / "final_model" / "adapter_model.safetensors") for run in (found, wanted)
    )
    apart = sum(float((ours[name] - value).square().sum()) for name, value in theirs.items())
    return float((apart / sum(float(value.square().sum()) for value in theirs.values())) ** 0.5)


@pytest.mark.parametrize("where", ["forward", "backward", "reference", "mismatched"])
def test_a_pass_that_does_not_fit_is_halved_until_it_does(
    undisturbed: dict[str, Sitting], tmp_path: Path, where: Any
) -> None:
    scarce = Scarce(where, fits=1)
    sitting = sit_scarcely(config(tmp_path), scarce)
    assert alerts(sitting) == halved(1, 1)
    assert scarce.met[:3] == [4, 2, 1]
    assert set(scarce.met[3:]) == {1}
    assert_same_run(sitting, undisturbed["once"])


@pytest.mark.parametrize("first", [5, 6, 7])
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_any_block_of_a_step_may_fail(
    undisturbed: dict[str, Sitting], tmp_path: Path, where: Any, first: int
) -> None:
    """The second block of the third step, and either of the fourth's: what the first left is taken back."""
    sitting = sit_scarcely(config(tmp_path, **TWICE), Scarce(where, first=first, times=1))
    assert alerts(sitting) == halved(1 + first // 2)
    assert_same_run(sitting, undisturbed["twice"])


@pytest.mark.parametrize("where", ["reference", "mismatched"])
def test_passes_without_gradient_may_fail(
    undisturbed: dict[str, Sitting], tmp_path: Path, where: Any
) -> None:
    sitting = sit_scarcely(config(tmp_path, **TWICE), Scarce(where, first=2, times=1, fits=2))
    assert len(alerts(sitting)) == 1
    assert_same_run(sitting, undisturbed["twice"])


@pytest.mark.parametrize("first", [2, 3], ids=["forward", "again"])
def test_activations_that_are_computed_again_may_fail(
    undisturbed: dict[str, Sitting], tmp_path: Path, first: int
) -> None:
    changes = {"gradient_checkpointing": "on"}
    sitting = sit_scarcely(config(tmp_path, **changes), Scarce("forward", first=first, times=1))
    assert alerts(sitting) == halved(2)
    assert_same_run(sitting, undisturbed["once"])


def test_memory_that_runs_out_at_two_steps(undisturbed: dict[str, Sitting], tmp_path: Path) -> None:
    """Once on the way back of the second step, then of the fourth, in its last quarter."""
    scarce = Scarce("backward", first=1, times=1)

    def again(event: Any, _: Sitting) -> None:
        if isinstance(event, StepLogged) and event.step == 3:
            scarce.first, scarce.times = len(scarce.met) + 1, 1

    sitting = sit_scarcely(config(tmp_path), scarce, again)
    assert alerts(sitting) == halved(2, 4)
    assert_same_run(sitting, undisturbed["once"])


def test_z_of_each_micro_batch_is_still_that_of_the_whole_block(
    undisturbed: dict[str, Sitting], tmp_path: Path
) -> None:
    changes = {**TWICE, "kl_scope": "micro_batch"}
    sitting = sit_scarcely(config(tmp_path, **changes), Scarce("forward", fits=2))
    assert alerts(sitting) == halved(1)
    assert_same_run(sitting, undisturbed["micro_batch"])
    points, pooled = (
        [step.metrics["kl"] for step in run.of(StepLogged)] for run in (sitting, undisturbed["twice"])
    )
    assert points != pytest.approx(pooled, rel=1e-3)


def test_blocks_of_unlike_size_count_alike(tmp_path: Path) -> None:
    """22 rows: in parts of 2, a block of 2 rows is one and a block of 4 is two, but each is one z."""
    changes = {"kl_scope": "micro_batch", "logging_steps": 6, "max_steps": 6, "learning_rate": 5e-3}
    runs = [tiny(tmp_path / name, **changes) for name in ("whole", "scarce")]
    assert_same_run(sit_scarcely(runs[1], Scarce("forward", fits=2)), sit(runs[0]))


def test_the_first_optimizer_step_has_moved_some(undisturbed: dict[str, Sitting], tmp_path: Path) -> None:
    """8-bit AdamW allocates its state parameter by parameter, and moves each at once."""
    from bitsandbytes.optim.optimizer import Optimizer2State

    with patched(Optimizer2State, "init_state", failing_at(5)):
        sitting = sit(config(tmp_path, optim="adamw_8bit"))
    assert alerts(sitting) == halved(1)
    assert_same_run(sitting, undisturbed["8bit"])


@pytest.mark.parametrize("times", [1, 2])
def test_a_later_optimizer_step_fails_before_it_moves_any(
    undisturbed: dict[str, Sitting], tmp_path: Path, times: int
) -> None:
    with patched(torch.optim.AdamW, "step", failing_at(2, times)):
        sitting = sit(config(tmp_path))
    assert alerts(sitting) == halved(3, 3)[:times]
    assert_same_run(sitting, undisturbed["once"])


def test_an_optimizer_step_that_was_half_done_is_not_done_again(tmp_path: Path) -> None:
    """Its moments have taken the gradient in already; what is on the disk is sound."""
    from bitsandbytes.optim.optimizer import Optimizer2State

    count = len(
        load_file(sit(tiny(tmp_path / "a", max_steps=1)).output / "final_model/adapter_model.safetensors")
    )
    with patched(Optimizer2State, "update_step", failing_at(2 * count + 3)):
        sitting = sit(config(tmp_path / "b", optim="adamw_8bit", save_steps=1))
    (ended,) = sitting.of(RunEnded)
    assert (ended.status, ended.step, ended.exit_code) == ("failed", 2, 1)
    assert "--resume-from-checkpoint latest" in str(ended.error)
    assert sitting.checkpoints == {"checkpoint-1", "checkpoint-2"}


def test_an_evaluation_shrinks_by_itself(undisturbed: dict[str, Sitting], tmp_path: Path) -> None:
    sitting = sit_scarcely(config(tmp_path, eval_steps=2), Scarce("evaluation", fits=2))
    ((step, message),) = alerts(sitting)
    assert step == 2
    assert message == "the evaluation ran out of memory: 2 rows at once from now on, not 4"
    assert_same_run(sitting, undisturbed["evaluated"])
    assert sitting.adapter("final_model") == undisturbed["evaluated"].adapter("final_model")
    assert rows_at_once(sitting, "checkpoint-4") == {"training": 4, "evaluation": 2}
    wanted = undisturbed["evaluated"].of(Evaluated)
    for ours, theirs in zip(sitting.of(Evaluated), wanted, strict=True):
        for name in theirs.metrics.keys() - {"runtime", "samples_per_second"}:
            assert ours.metrics[name] == pytest.approx(theirs.metrics[name], rel=1e-5, abs=1e-5)


def test_training_shrinks_without_the_evaluation(undisturbed: dict[str, Sitting], tmp_path: Path) -> None:
    sitting = sit_scarcely(config(tmp_path, eval_steps=2), Scarce("backward", first=1, times=1))
    assert alerts(sitting) == halved(2)
    assert rows_at_once(sitting, "checkpoint-4") == {"training": 2, "evaluation": 4}
    assert_same_run(sitting, undisturbed["evaluated"])


def rows_at_once(sitting: Sitting, checkpoint: str) -> Any:
    path = sitting.output / checkpoint / "accumulators.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows_at_once"]


@pytest.mark.parametrize("where", ["forward", "backward", "reference", "mismatched", "evaluation"])
def test_a_single_row_that_does_not_fit_ends_the_run(tmp_path: Path, where: Any) -> None:
    sitting = sit_scarcely(config(tmp_path, eval_steps=1), Scarce(where))
    (ended,) = sitting.of(RunEnded)
    assert (ended.status, ended.exit_code, sitting.exit_code) == ("failed", 1, 1)
    error = str(ended.error)
    assert "a single row does not fit into memory" in error
    assert "--max-length" in error
    assert "Traceback" not in error
    assert "\n" not in error
    assert len(alerts(sitting)) == 2


@pytest.mark.parametrize("settings", [{}, TWICE], ids=["once", "twice"])
def test_a_resume_goes_on_in_smaller_parts(tmp_path: Path, settings: dict[str, Any]) -> None:
    """To the bit what the unbroken run with the same trouble comes to."""
    changes = {"reference_cache": "off", **settings}
    whole = sit_scarcely(config(tmp_path / "whole", **changes), Scarce("backward", first=1, times=1))
    first = sit_scarcely(
        config(tmp_path / "broken", **changes), Scarce("backward", first=1, times=1), at_step(2, "stop")
    )
    assert len(alerts(first)) == 1
    path = str(first.output / "checkpoint-3")
    again = sit(config(tmp_path / "broken", resume_from_checkpoint=path, **changes))
    assert alerts(again) == []
    assert again.adapter("final_model") == whole.adapter("final_model")
    for step, other in zip(again.of(StepLogged), whole.of(StepLogged)[3:], strict=True):
        assert {name: value for name, value in step.metrics.items() if name not in NOT_EXACT} == {
            name: value for name, value in other.metrics.items() if name not in NOT_EXACT
        }
