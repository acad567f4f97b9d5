"""A step that is left in its middle, as the supervisor is gone or a deadline is near: nothing of it stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kto_tui.core.commands import new_command
from kto_tui.core.events import CheckpointSaved, Event, RunEnded, StageChanged, StepLogged
from tests.real_worker.harness import Sitting, sit, tiny
from tests.real_worker.test_not_finite import model_with

pytestmark = pytest.mark.worker

STEPS = 6
SETTINGS: dict[str, Any] = {
    "max_steps": STEPS,
    "gradient_accumulation_steps": 3,
    "lora_dropout": 0.2,
    "logging_steps": 2,
    "save_steps": 100,
}


def in_mid_step(act: Callable[[Sitting], None], after: int) -> tuple[Any, Any]:
    """Act in the second micro-batch of the step after `after`."""
    sittings: list[Sitting] = []
    passes: list[int] = []

    def listen(event: Event, sitting: Sitting) -> None:
        sittings[:] = [sitting]
        if isinstance(event, StepLogged):
            passes.clear()
            passes.append(event.step)

    def change(model: Any) -> None:
        def hook(*_: Any) -> None:
            if torch.is_grad_enabled() and passes[:1] == [after]:
                passes.append(0)
                if len(passes) == 3:
                    act(sittings[0])

        model.get_input_embeddings().register_forward_pre_hook(hook)

    return listen, change


def urgent_stop(sitting: Sitting) -> None:
    sitting.commands.put(new_command("stop", urgent=True))


def lose_supervisor(sitting: Sitting) -> None:
    sitting.alive = False


@pytest.mark.parametrize("act", [urgent_stop, lose_supervisor])
@pytest.mark.parametrize("cache", ["on", "off"])
def test_what_was_begun_leaves_no_trace(tmp_path: Path, act: Callable[[Sitting], None], cache: str) -> None:
    settings = dict(SETTINGS, reference_cache=str(tmp_path / "cache") if cache == "on" else "off")
    whole = sit(tiny(tmp_path / "whole", **settings))
    listen, change = in_mid_step(act, after=2)
    with model_with(change):
        first = sit(tiny(tmp_path / "left", **settings), listen)
    assert [(saved.step, saved.reason) for saved in first.of(CheckpointSaved)] == [(2, "stopped")]
    if act is urgent_stop:
        assert first.of(RunEnded)[0].status == "stopped"
        assert first.replies == [("stop", "done", "checkpoint-2")]
    checkpoint = str(first.output / "checkpoint-2")
    second = sit(tiny(tmp_path / "left", **settings, resume_from_checkpoint=checkpoint))
    assert second.of(RunEnded)[0].status == "completed"
    assert second.adapter("final_model") == whole.adapter("final_model")
    figures = [(e.step, e.metrics["loss"], e.metrics["num_tokens"]) for e in second.of(StepLogged)]
    assert figures == [(e.step, e.metrics["loss"], e.metrics["num_tokens"]) for e in whole.of(StepLogged)][1:]


def test_before_the_first_step_there_is_nothing_to_save(tmp_path: Path) -> None:
    here: list[Sitting] = []

    def change(model: Any) -> None:
        def hook(*_: Any) -> None:
            if torch.is_grad_enabled() and here:
                urgent_stop(here.pop())

        model.get_input_embeddings().register_forward_pre_hook(hook)

    def hold(event: Event, sitting: Sitting) -> None:
        if isinstance(event, StageChanged) and event.stage == "training":
            here[:] = [sitting]

    with model_with(change):
        sitting = sit(tiny(tmp_path, **SETTINGS), hold)
    assert sitting.of(RunEnded)[0].status == "stopped"
    assert sitting.checkpoints == set()
    assert sitting.replies == [("stop", "done", "no step was taken yet, so there is no checkpoint")]
