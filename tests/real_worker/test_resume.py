"""A run that was interrupted ends with the same weights, to the bit, as one in a single sitting."""

from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.events import AlertRaised, DataReady, Evaluated, ReferenceCacheReady, RunEnded, StepLogged
from tests.real_worker.harness import Sitting, at_step, sit, tiny, write_rows

STEPS = 8  # six make an epoch
NOT_EXACT = {"samples_per_second", "tokens_per_second", "gpu_memory_bytes"}


def learned(sitting: Sitting) -> dict[int, dict[str, Any]]:
    """What each logged step says about learning."""
    return {
        event.step: {key: value for key, value in event.metrics.items() if key not in NOT_EXACT}
        for event in sitting.of(StepLogged)
    }


def resumed(config_folder: Path, checkpoint: str, **changes: Any) -> Sitting:
    path = str(config_folder / "out" / checkpoint)
    return sit(tiny(config_folder, **{"max_steps": STEPS, "resume_from_checkpoint": path, **changes}))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Sitting:
    return sit(tiny(tmp_path_factory.mktemp("unbroken"), max_steps=STEPS))


@pytest.mark.parametrize("stop_at", [2, 6, 7], ids=["mid-epoch", "between epochs", "second epoch"])
def test_stop_and_resume_changes_nothing(unbroken: Sitting, tmp_path: Path, stop_at: int) -> None:
    first = sit(tiny(tmp_path, max_steps=STEPS), at_step(stop_at - 1, "stop"))
    assert first.of(RunEnded)[0].status == "stopped"
    assert first.replies == [("stop", "done", f"checkpoint-{stop_at}")]
    second = resumed(tmp_path, f"checkpoint-{stop_at}")
    assert second.of(RunEnded)[0].status == "completed"
    assert second.adapter("final_model") == unbroken.adapter("final_model")
    assert learned(first) | learned(second) == learned(unbroken)
    optimizer = "checkpoint-8/optimizer.pt"
    assert (second.output / optimizer).read_bytes() == (unbroken.output / optimizer).read_bytes()


def test_a_forced_checkpoint_inside_a_logging_window_and_dropout(tmp_path: Path) -> None:
    """Sums since the last log, the dropout's random numbers and accumulated batches go on where they were."""
    changes = {
        "lora_dropout": 0.2,
        "gradient_accumulation_steps": 2,
        "logging_steps": 4,
        "save_steps": 3,
    }
    whole = sit(tiny(tmp_path / "a", max_steps=STEPS, **changes))
    sit(tiny(tmp_path / "b", max_steps=STEPS, **changes), at_step(4, "stop"))
    again = resumed(tmp_path / "b", "checkpoint-3", **changes)
    assert again.adapter("final_model") == whole.adapter("final_model")
    assert learned(again) == learned(whole)


def test_evaluations_change_nothing(tmp_path: Path) -> None:
    """Neither what is trained nor what a resumed run logs."""
    evaluation = write_rows(tmp_path / "eval.jsonl", 9)
    changes = {
        "eval_dataset": evaluation,
        "eval_steps": 2,
        "logging_steps": 2,
        "save_steps": 5,
        "lora_dropout": 0.2,
    }
    whole = sit(tiny(tmp_path / "a", max_steps=STEPS, **changes))
    sit(tiny(tmp_path / "b", max_steps=STEPS, **changes), at_step(6, "stop"))
    again = resumed(tmp_path / "b", "checkpoint-5", **changes)
    assert again.adapter("final_model") == whole.adapter("final_model")
    for sitting in (whole, again):
        assert [event.step for event in sitting.of(Evaluated)][-2:] == [6, 8]
    assert learned(again).items() <= learned(whole).items()
    last = [sitting.of(Evaluated)[-1].metrics for sitting in (whole, again)]
    assert last[0]["loss"] == last[1]["loss"]


def test_a_4_bit_base_is_evaluated_and_trained_on_alike(tmp_path: Path) -> None:
    """An evaluation leaves the gradients as they were, also where the CPU has a packing of its own."""
    settings = {"quantization": "nf4", "gradient_accumulation_steps": 2, "batch_size": 2}
    evaluation = {"eval_dataset": write_rows(tmp_path / "eval.jsonl", 8), "eval_steps": 1}
    plain = sit(tiny(tmp_path / "plain", **settings))
    evaluated = sit(tiny(tmp_path / "evaluated", **settings, **evaluation))
    assert evaluated.adapter("final_model") == plain.adapter("final_model")
    sit(tiny(tmp_path / "broken", **settings, **evaluation), at_step(2, "stop"))
    again = sit(
        tiny(
            tmp_path / "broken",
            **settings,
            **evaluation,
            resume_from_checkpoint=str(tmp_path / "broken" / "out" / "checkpoint-2"),
        )
    )
    assert again.adapter("final_model") == plain.adapter("final_model")


@pytest.mark.parametrize(
    ("first", "second", "known"),
    [("off", "off", 0), ("off", "cold", 0), ("cold", "off", 0), ("cold", "warm", 6), ("warm", "other", 0)],
)
def test_what_the_reference_cache_knows_changes_nothing(
    tmp_path: Path, first: str, second: str, known: int
) -> None:
    """Off, empty, or filled by a whole run: the resumed sitting then knows so many of the 6 blocks."""
    settings = {"gradient_accumulation_steps": 2, "max_steps": STEPS, "lora_dropout": 0.1}
    whole = sit(tiny(tmp_path / "a", reference_cache=str(tmp_path / "warm"), **settings))

    def cache(name: str) -> str:
        return name if name == "off" else str(tmp_path / name)

    sit(tiny(tmp_path / "b", reference_cache=cache(first), **settings), at_step(3, "stop"))
    again = resumed(tmp_path / "b", "checkpoint-4", reference_cache=cache(second), **settings)
    assert again.adapter("final_model") == whole.adapter("final_model")
    assert learned(again).items() <= learned(whole).items()
    (found,) = again.of(ReferenceCacheReady)
    assert (found.blocks, found.known, found.path is None) == (6, known, second == "off")


@pytest.mark.parametrize(
    "changes", [{"seed": 7}, {"learning_rate": 1e-4}, {"beta": 0.3}, {"kl_scope": "micro_batch"}]
)
def test_a_run_with_other_settings_finds_the_cache_warm(tmp_path: Path, changes: dict[str, Any]) -> None:
    """And comes to what it would have come to without one."""
    sit(tiny(tmp_path / "a", max_steps=6, reference_cache=str(tmp_path / "warm")))
    cold = sit(tiny(tmp_path / "b", max_steps=6, reference_cache="off", **changes))
    warm = sit(tiny(tmp_path / "c", max_steps=6, reference_cache=str(tmp_path / "warm"), **changes))
    assert warm.of(ReferenceCacheReady)[0].known == 6
    assert warm.adapter("final_model") == cold.adapter("final_model")
    assert learned(warm) == learned(cold)


def test_another_seed_is_another_run(unbroken: Sitting, tmp_path: Path) -> None:
    other = sit(tiny(tmp_path, max_steps=STEPS, seed=7))
    assert other.adapter("final_model") != unbroken.adapter("final_model")


def test_a_finished_run_trains_no_further(tmp_path: Path) -> None:
    sit(tiny(tmp_path, max_steps=2))
    first = tiny(tmp_path).output_dir
    again = sit(tiny(tmp_path, max_steps=2, resume_from_checkpoint=f"{first}/checkpoint-2"))
    assert again.of(RunEnded)[0].status == "completed"
    assert again.of(RunEnded)[0].step == 2
    assert not again.of(StepLogged)
    assert [alert.kind for alert in again.of(AlertRaised)] == ["nothing_left_to_train"]
    assert again.adapter("final_model") == again.adapter("checkpoint-2")
    card = (again.output / "final_model" / "README.md").read_text(encoding="utf-8")
    assert "| rewards/margins |" in card


@pytest.mark.parametrize(
    ("fewer", "says"),
    [
        ({"max_steps": 1}, "step 2 is past --max-steps 1"),
        ({"max_steps": None, "num_epochs": 0.1}, "step 2 is past --num-epochs 0.1, which ends at step 1"),
    ],
)
def test_fewer_steps_than_were_taken(tmp_path: Path, fewer: dict[str, Any], says: str) -> None:
    sit(tiny(tmp_path, max_steps=2))
    path = str(tmp_path / "out" / "checkpoint-2")
    again = sit(tiny(tmp_path, resume_from_checkpoint=path, **fewer))
    (alert,) = (alert for alert in again.of(AlertRaised) if alert.kind == "nothing_left_to_train")
    assert says in alert.message


def test_more_steps_can_be_added(tmp_path: Path) -> None:
    sit(tiny(tmp_path, max_steps=2))
    more = sit(tiny(tmp_path, max_steps=4, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2")))
    assert [step.step for step in more.of(StepLogged)] == [3, 4]
    assert more.of(DataReady)[0].examples == 22


def test_the_first_added_step_trains_at_the_new_schedule(tmp_path: Path) -> None:
    """The old one, a cosine, had come to 0."""
    short = sit(tiny(tmp_path, max_steps=2))
    path = str(short.output / "checkpoint-2")
    more = sit(tiny(tmp_path, max_steps=4, save_steps=1, resume_from_checkpoint=path))
    long = sit(tiny(tmp_path / "long", max_steps=4))
    rates = [[step.metrics["learning_rate"] for step in run.of(StepLogged)] for run in (more, long)]
    assert rates[0] == rates[1][2:]
    assert rates[0][0]
    assert more.adapter("checkpoint-3") != more.adapter("checkpoint-2")


def test_a_resume_takes_another_learning_rate(tmp_path: Path) -> None:
    sit(tiny(tmp_path, max_steps=4, lr_scheduler_type="constant"), at_step(1, "stop"))
    path = str(tmp_path / "out" / "checkpoint-2")
    changes = {"lr_scheduler_type": "constant", "learning_rate": 2e-3}
    more = sit(tiny(tmp_path, max_steps=4, resume_from_checkpoint=path, **changes))
    assert [step.metrics["learning_rate"] for step in more.of(StepLogged)] == [2e-3, 2e-3]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lora_rank": 8}, "--lora-rank 4"),
        ({"lora_alpha": 8}, "--lora-alpha 32"),
        ({"model": "another/model"}, "--model builtin:tiny"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    sit(tiny(tmp_path, max_steps=1))
    refused = resumed(tmp_path, "checkpoint-1", **change)
    (ended,) = refused.of(RunEnded)
    assert (ended.status, ended.exit_code, refused.exit_code) == ("failed", 2, 2)
    assert ended.error is not None
    assert says in ended.error


def test_a_worker_that_died_before_it_could_rotate_leaves_no_surplus(tmp_path: Path) -> None:
    first = sit(tiny(tmp_path, max_steps=4, save_steps=1, save_total_limit=4))
    assert len(first.checkpoints) == 4
    path = str(first.output / "checkpoint-4")
    again = sit(tiny(tmp_path, max_steps=4, save_steps=1, save_total_limit=2, resume_from_checkpoint=path))
    assert again.checkpoints == {"checkpoint-3", "checkpoint-4"}
