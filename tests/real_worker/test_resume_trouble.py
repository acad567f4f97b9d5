"""Resumes out of the usual: another optimizer, odd but signed checkpoints, a step left after a retry."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kto_tui.core.events import AlertRaised, Event, RunEnded
from kto_tui.core.manifest import problem_of
from tests.real_worker.harness import Sitting, at_step, sit, tiny, write_rows
from tests.real_worker.scarce import Scarce, sit_scarcely
from tests.real_worker.test_hostile_checkpoint import Bomb, sign
from tests.real_worker.test_left_step import urgent_stop

pytestmark = pytest.mark.worker


@pytest.fixture(scope="module")
def half_done(tmp_path_factory: pytest.TempPathFactory) -> Sitting:
    """Stopped at step 2 of 4."""
    sitting = sit(tiny(tmp_path_factory.mktemp("half")), at_step(1, "stop"))
    assert sitting.checkpoints == {"checkpoint-2"}
    return sitting


def gone_on_from(first: Sitting, folder: Path, **settings: Any) -> Sitting:
    """A resume in a copy of the run's folder."""
    shutil.copytree(first.output.parent, folder, dirs_exist_ok=True)
    checkpoint = str(folder / "out" / "checkpoint-2")
    return sit(tiny(folder, **settings, resume_from_checkpoint=checkpoint, allow_changed_settings=True))


def refusal(sitting: Sitting) -> str:
    """What a refused sitting says, which is one line."""
    (ended,) = sitting.of(RunEnded)
    assert (ended.status, ended.exit_code, sitting.exit_code) == ("failed", 2, 2)
    assert ended.error is not None
    assert "\n" not in ended.error
    assert ended.error.startswith("--resume-from-checkpoint ")
    return ended.error


def weight_decays(sitting: Sitting) -> list[float]:
    saved = torch.load(sitting.output / "checkpoint-4" / "optimizer.pt", weights_only=True)
    return [group["weight_decay"] for group in saved["param_groups"]]


def test_a_changed_weight_decay_takes_effect(half_done: Sitting, tmp_path: Path) -> None:
    plain = gone_on_from(half_done, tmp_path / "plain")
    decaying = gone_on_from(half_done, tmp_path / "decaying", weight_decay=50.0)
    assert weight_decays(plain) == [0.0, 0.0]
    assert weight_decays(decaying) == [50.0, 0.0]  # The second group is of what never decays.
    assert decaying.adapter("final_model") != plain.adapter("final_model")


@pytest.mark.parametrize(("was", "now"), [("adamw_torch", "adamw_8bit"), ("adamw_8bit", "adamw_torch")])
def test_moments_of_the_other_kind_are_refused(tmp_path: Path, was: str, now: str) -> None:
    first = sit(tiny(tmp_path / "first", optim=was), at_step(1, "stop"))
    error = refusal(gone_on_from(first, tmp_path / "second", optim=now))
    assert f"its moments are those of --optim {was}; resume with that" in error
    again = gone_on_from(first, tmp_path / "third", optim=was)
    assert again.of(RunEnded)[0].status == "completed"


Spoil = Callable[[Path], None]


def of_infinite_step(checkpoint: Path) -> None:
    state = checkpoint / "trainer_state.json"
    text = state.read_text(encoding="utf-8")
    assert '"global_step": 2' in text
    state.write_text(text.replace('"global_step": 2', '"global_step": 1e999'), encoding="utf-8")


def sums_without(*keys: str) -> Spoil:
    def spoil(checkpoint: Path) -> None:
        path = checkpoint / "accumulators.json"
        sums = json.loads(path.read_text(encoding="utf-8"))
        for key in keys:
            del sums[key]
        path.write_text(json.dumps(sums), encoding="utf-8")

    return spoil


def sums_with(key: str, value: Any) -> Spoil:
    def spoil(checkpoint: Path) -> None:
        path = checkpoint / "accumulators.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), key: value}))

    return spoil


def without(name: str) -> Spoil:
    return lambda checkpoint: (checkpoint / name).unlink()


SUMS = "accumulators.json: found "
ODD: dict[str, tuple[Spoil, str]] = {
    "infinite step": (of_infinite_step, "trainer_state.json: found "),
    "no loss": (sums_without("loss"), SUMS),
    "no rows at once": (sums_without("rows_at_once"), SUMS),
    "no metrics": (sums_without("metrics"), SUMS),
    "rewards of another kind": (sums_with("rewards", 7), SUMS),
    "skips of another kind": (sums_with("skips", [1]), SUMS),
    "loss of another kind": (sums_with("loss", "much"), SUMS),
    "no optimizer": (without("optimizer.pt"), "optimizer.pt is missing"),
    "no schedule": (without("scheduler.pt"), "scheduler.pt is missing"),
    "no adapter": (without("adapter_model.safetensors"), "adapter_model.safetensors is missing"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_checkpoint_is_refused(half_done: Sitting, tmp_path: Path, name: str) -> None:
    spoil, says = ODD[name]
    shutil.copytree(half_done.output.parent, tmp_path, dirs_exist_ok=True)
    checkpoint = tmp_path / "out" / "checkpoint-2"
    spoil(checkpoint)
    sign(checkpoint)
    assert problem_of(checkpoint) is None
    error = refusal(sit(tiny(tmp_path, resume_from_checkpoint=str(checkpoint))))
    assert says in error
    assert "resume from another checkpoint" in error


def test_a_scaler_harms_no_run_without_one(half_done: Sitting, tmp_path: Path) -> None:
    """Not looked at or refused, as may be. A run that has one is in test_loss_scaling.py."""
    shutil.copytree(half_done.output.parent, tmp_path, dirs_exist_ok=True)
    checkpoint, harm = tmp_path / "out" / "checkpoint-2", tmp_path / "harm"
    torch.save({"scale": Bomb(harm)}, checkpoint / "scaler.pt")
    sign(checkpoint)
    sitting = sit(tiny(tmp_path, resume_from_checkpoint=str(checkpoint)))
    assert not harm.exists()
    assert sitting.exit_code == 0 or "scaler.pt" in refusal(sitting)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_step_that_is_left_after_memory_ran_out_leaves_no_trace(tmp_path: Path, dropout: float) -> None:
    """What the retry draws at random is what the step draws that is done again after the resume."""
    settings: dict[str, Any] = {
        "max_steps": 6,
        "gradient_accumulation_steps": 3,
        "lora_dropout": dropout,
        "save_steps": 100,
        "gradient_checkpointing": "off",
        "dataset": write_rows(tmp_path / "rows.jsonl", 24),
    }

    def scarce() -> Scarce:
        return Scarce("backward", first=6, times=1)

    def leave(event: Event, sitting: Sitting) -> None:
        if isinstance(event, AlertRaised) and event.kind == "out_of_memory":
            urgent_stop(sitting)

    whole = sit_scarcely(tiny(tmp_path / "whole", **settings), scarce())
    assert [alert.kind for alert in whole.of(AlertRaised)] == ["out_of_memory"]
    first = sit_scarcely(tiny(tmp_path / "left", **settings), scarce(), leave)
    (ended,) = first.of(RunEnded)
    assert (ended.status, ended.step) == ("stopped", 2)
    checkpoint = str(first.output / "checkpoint-2")
    second = sit(tiny(tmp_path / "left", **settings, resume_from_checkpoint=checkpoint))
    assert second.adapter("final_model") == whole.adapter("final_model")
