"""float16's scaled losses: an overflow is the scaler's affair, a loss that is no number is the data's.

The scaler is torch's own, for the CPU, put where accelerate has the GPU's.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from kto_tui.core.events import AlertRaised, RunEnded, StepLogged
from kto_tui.training import work
from tests.real_worker.harness import Sitting, at_step, sit, tiny
from tests.real_worker.scarce import patched
from tests.real_worker.test_hostile_checkpoint import Bomb, sign
from tests.real_worker.test_not_finite import from_step, long_rows, model_with, poisoning, with_a_long_row

pytestmark = [
    pytest.mark.worker,
    # torch's own, of a scaler that skips: accelerate has transformers take the schedule's step after it.
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step"),
]

OPTIMIZERS = ["adamw_torch", "adamw_8bit"]
LARGEST = torch.finfo(torch.float16).max
TOO_HIGH = 2.0**23


@contextlib.contextmanager
def scaled(scale: float) -> Iterator[list[Any]]:
    """Losses are scaled, beginning with this; gradients overflow where float16's do. Gives the scalers."""
    scalers: list[Any] = []

    def make(build: Callable[..., Any]) -> Callable[..., Any]:
        def build_scaled(*args: Any, **kwargs: Any) -> Any:
            trainer = build(*args, **kwargs)
            for parameter in trainer.model.parameters():
                if parameter.requires_grad:
                    parameter.register_hook(overflowing)
            accelerator, scaler = trainer.accelerator, torch.amp.GradScaler("cpu", init_scale=scale)
            accelerator.scaler = scaler
            accelerator.unscale_gradients = lambda: scaler.unscale_(trainer.optimizer.optimizer)
            scalers.append(scaler)
            return trainer

        return build_scaled

    with patched(work.Work, "_build_trainer", make):
        yield scalers


def overflowing(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.masked_fill(gradient.abs() > LARGEST, math.inf)


def skipped(sitting: Sitting) -> list[int | None]:
    return [alert.step for alert in sitting.of(AlertRaised) if alert.kind == "step_skipped"]


@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_finding_the_scale_is_no_offence(tmp_path: Path, optim: str) -> None:
    """More steps overflow in a row than would end a run, and one after steps that were taken."""
    settings = {"max_steps": 9, "save_steps": 1, "save_total_limit": 9, "optim": optim}
    with scaled(TOO_HIGH) as scalers:
        sitting = sit(tiny(tmp_path, **settings))
    assert sitting.of(RunEnded)[0].status == "completed"
    assert sitting.of(AlertRaised) == []
    figures = {event.step: event.metrics for event in sitting.of(StepLogged)}
    assert all(metrics["loss"] for metrics in figures.values())
    overflowed = [step for step, metrics in figures.items() if metrics["grad_norm"] is None]
    assert overflowed[:4] == [1, 2, 3, 4]
    assert TOO_HIGH / scalers[0].get_scale() == 2 ** len(overflowed)
    adapters = {step: sitting.adapter(f"checkpoint-{step}") for step in figures}
    assert all(adapters[step] == adapters[step - 1] for step in overflowed if step > 1)
    assert adapters[9] != adapters[4]


@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_a_row_that_gives_no_number_is_told(tmp_path: Path, optim: str) -> None:
    settings = {"optim": optim, "save_steps": 1, "save_total_limit": 9}
    with scaled(1024.0), model_with(poisoning(long_rows)):
        sitting = sit(msgspec.structs.replace(with_a_long_row(tmp_path), **settings))
    assert sitting.of(RunEnded)[0].status == "completed"
    (step,) = skipped(sitting)
    assert step is not None
    assert step > 1
    (alert,) = sitting.of(AlertRaised)
    assert "rows.jsonl, row 23)" in alert.message
    logged = {event.step: event.metrics["loss"] for event in sitting.of(StepLogged)}
    assert [step for step, loss in logged.items() if loss is None] == [step]
    assert sitting.adapter(f"checkpoint-{step}") == sitting.adapter(f"checkpoint-{step - 1}")


@pytest.mark.parametrize("optim", OPTIMIZERS)
def test_three_in_a_row_end_the_run(tmp_path: Path, optim: str) -> None:
    listen, every = from_step(4)
    with scaled(1024.0), model_with(poisoning(every)):
        sitting = sit(tiny(tmp_path, max_steps=12, save_steps=3, optim=optim), listen)
    (ended,) = sitting.of(RunEnded)
    assert (ended.status, ended.exit_code, ended.transient) == ("failed", 1, False)
    assert "3 steps in a row, up to step 6" in (ended.error or "")
    assert skipped(sitting) == [4, 5, 6]
    assert sitting.checkpoints == {"checkpoint-3"}


def test_overflows_and_offences_are_counted_apart(tmp_path: Path) -> None:
    """Two steps that overflow, then rows that are no numbers: the third of those ends the run."""
    listen, every = from_step(3)
    with scaled(TOO_HIGH), model_with(poisoning(every)):
        sitting = sit(tiny(tmp_path, max_steps=12), listen)
    assert skipped(sitting) == [3, 4, 5]
    assert "3 steps in a row, up to step 5" in (sitting.of(RunEnded)[0].error or "")


def test_a_stop_and_a_resume_keep_the_scale(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"max_steps": 8}
    with scaled(TOO_HIGH):
        whole = sit(tiny(tmp_path / "whole", **settings))
        first = sit(tiny(tmp_path / "broken", **settings), at_step(2, "stop"))
        checkpoint = str(first.output / "checkpoint-3")
        second = sit(tiny(tmp_path / "broken", **settings, resume_from_checkpoint=checkpoint))
    assert second.adapter("final_model") == whole.adapter("final_model")


def test_a_scaler_that_holds_more_than_numbers_is_refused(tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    with scaled(1024.0):
        first = sit(tiny(tmp_path, max_steps=4), at_step(1, "stop"))
        checkpoint = first.output / "checkpoint-2"
        assert (checkpoint / "scaler.pt").exists()
        torch.save({"scale": Bomb(harm)}, checkpoint / "scaler.pt")
        sign(checkpoint)
        again = sit(tiny(tmp_path, max_steps=4, resume_from_checkpoint=str(checkpoint)))
    assert not harm.exists()
    (ended,) = again.of(RunEnded)
    assert (again.exit_code, ended.exit_code) == (2, 2)
    assert ended.error is not None
    assert "scaler.pt holds more than tensors and numbers" in ended.error
    assert "\n" not in ended.error
