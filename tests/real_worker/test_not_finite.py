"""Losses, gradients and weights that are no numbers: the step is left out, and the rows are named."""

import contextlib
import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from kto_tui.core.config import RunConfig
from kto_tui.core.events import AlertRaised, CheckpointSaved, Event, RunEnded, StepLogged
from kto_tui.core.manifest import problem_of
from kto_tui.training import work
from tests.real_worker.harness import OnEvent, Sitting, at_step, both, sit, tiny, write_rows
from tests.real_worker.scarce import patched

pytestmark = pytest.mark.worker

LONG = 80


@contextlib.contextmanager
def model_with(change: Callable[[Any], None]) -> Iterator[None]:
    """Base models are changed so once they are loaded."""

    def loading(load: Callable[..., Any]) -> Callable[..., Any]:
        def load_and_change(*args: Any) -> Any:
            base = load(*args)
            change(base.model)
            return base

        return load_and_change

    with patched(work, "load_base", loading):
        yield


def poisoning(is_poisoned: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Any], None]:
    """What training passes give for rows of ids like that is no number."""

    def change(model: Any) -> None:
        def hook(_: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            if not torch.is_grad_enabled():
                return output
            poisoned = is_poisoned(inputs[0])
            return output.masked_fill(poisoned[:, None, None], math.nan)

        model.get_input_embeddings().register_forward_hook(hook)

    return change


def long_rows(ids: torch.Tensor) -> torch.Tensor:
    padding = ids[:, -1:]  # Some rows of a block end in padding, and the long one does not.
    real = (ids != padding).sum(dim=1) + 1
    return (real >= LONG) & torch.tensor(ids.shape[1] >= LONG)


def with_a_long_row(folder: Path) -> RunConfig:
    rows = folder / "rows.jsonl"
    folder.mkdir(exist_ok=True)
    write_rows(rows, 22)
    row = {"prompt": "What is it? ", "completion": "It is " + "1234567890 " * 20, "label": True}
    with rows.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return tiny(folder, dataset=str(rows), max_steps=6)


def skipped(sitting: Sitting) -> list[AlertRaised]:
    return [alert for alert in sitting.of(AlertRaised) if alert.kind == "step_skipped"]


def test_a_row_that_gives_no_number_costs_its_step_and_is_named(tmp_path: Path) -> None:
    with model_with(poisoning(long_rows)):
        sitting = sit(with_a_long_row(tmp_path))
    assert sitting.of(RunEnded)[0].status == "completed"
    (alert,) = skipped(sitting)
    assert "rows.jsonl, row 23)" in alert.message
    assert alert.step is not None
    logged = {event.step: event.metrics for event in sitting.of(StepLogged)}
    assert sorted(logged) == [1, 2, 3, 4, 5, 6]
    assert logged[alert.step]["loss"] is None
    assert all(logged[step]["loss"] for step in logged if step != alert.step)


def test_a_skipped_step_changes_no_weight(tmp_path: Path) -> None:
    settings = {"save_steps": 1, "save_total_limit": 9}
    with model_with(poisoning(long_rows)):
        sitting = sit(msgspec.structs.replace(with_a_long_row(tmp_path), **settings))
    (alert,) = skipped(sitting)
    assert alert.step is not None
    assert alert.step > 1
    adapters = [sitting.adapter(f"checkpoint-{step}") for step in range(1, 7)]
    changed = [before != after for before, after in itertools.pairwise(adapters)]
    assert changed == [step != alert.step for step in range(2, 7)]


def from_step(first: int) -> tuple[OnEvent, Callable[[torch.Tensor], torch.Tensor]]:
    """Every row is poisoned once this step is reached."""
    reached = [0]

    def listen(event: Event, _: Sitting) -> None:
        if isinstance(event, StepLogged):
            reached[0] = event.step

    def every(ids: torch.Tensor) -> torch.Tensor:
        return torch.full((len(ids),), reached[0] >= first - 1)

    return listen, every


def test_three_in_a_row_end_the_run_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    listen, every = from_step(4)
    with model_with(poisoning(every)):
        sitting = sit(tiny(tmp_path, max_steps=12, save_steps=3), listen)
    ended = sitting.of(RunEnded)[0]
    assert (ended.status, ended.exit_code, ended.transient) == ("failed", 1, False)
    assert "3 steps in a row, up to step 6" in (ended.error or "")
    assert "rows.jsonl, row " in (ended.error or "")
    assert "the last good checkpoint is checkpoint-3" in (ended.error or "")
    assert [alert.step for alert in skipped(sitting)] == [4, 5, 6]
    assert [event.step for event in sitting.of(CheckpointSaved)] == [3]
    assert problem_of(sitting.output / "checkpoint-3") is None


def test_the_count_goes_on_after_a_resume(tmp_path: Path) -> None:
    """Two skipped before the stop, one after it: three in a row."""
    listen, every = from_step(3)
    with model_with(poisoning(every)):
        first = sit(tiny(tmp_path, max_steps=12), both(listen, at_step(3, "stop")))
    assert first.of(RunEnded)[0].status == "stopped"
    assert [alert.step for alert in skipped(first)] == [3, 4]
    checkpoint = str(first.output / "checkpoint-4")
    with model_with(poisoning(lambda ids: torch.ones(len(ids), dtype=torch.bool))):
        second = sit(tiny(tmp_path, max_steps=12, resume_from_checkpoint=checkpoint))
    assert "3 steps in a row, up to step 5" in (second.of(RunEnded)[0].error or "")
    assert "checkpoint-4" in (second.of(RunEnded)[0].error or "")


def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path) -> None:
    models: list[Any] = []

    def spoil(event: Event, _: Sitting) -> None:
        if isinstance(event, StepLogged) and event.step == 4:
            with torch.no_grad():
                next(p for p in models[0].parameters() if p.requires_grad).fill_(math.inf)

    with model_with(models.append):
        sitting = sit(tiny(tmp_path, max_steps=6, save_steps=2), spoil)
    ended = sitting.of(RunEnded)[0]
    assert (ended.status, ended.transient) == ("failed", False)
    assert "the weights at step 4 are not finite" in (ended.error or "")
    assert sitting.checkpoints == {"checkpoint-2"}
    assert not (sitting.output / "final_model").exists()
