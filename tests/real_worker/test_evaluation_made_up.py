"""An evaluation that a stop or park cuts short or leaves out is made up for: the run ends as it would."""

from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.commands import CommandName
from kto_tui.core.events import AlertRaised, Evaluated, Event, RunEnded, StageChanged, StepLogged
from kto_tui.core.manifest import problem_of
from tests.real_worker.harness import OnEvent, Sitting, sit
from tests.real_worker.test_early_stopping import config

pytestmark = pytest.mark.worker


def losses(sitting: Sitting) -> dict[int, Any]:
    return {event.step: event.metrics["loss"] for event in sitting.of(Evaluated)}


def told(sitting: Sitting, *kinds: str) -> list[tuple[str, int | None, str]]:
    return [(a.kind, a.step, a.message) for a in sitting.of(AlertRaised) if a.kind in kinds]


def ending(sitting: Sitting) -> list[tuple[str, int | None, str]]:
    return told(sitting, "stopped_early", "final_is_best")


def in_the_evaluation_of(step: int, name: CommandName) -> OnEvent:
    """Asked for once the step is logged, so that its evaluation is cut short."""

    def listen(event: Event, sitting: Sitting) -> None:
        if isinstance(event, StepLogged) and event.step == step:
            sitting.ask(name)

    return listen


def before_the_evaluation_of(step: int, name: CommandName) -> OnEvent:
    """Asked for while the step is trained, so that its evaluation is left out."""
    asked: list[int] = []

    def listen(event: Event, sitting: Sitting) -> None:
        before = isinstance(event, StepLogged) and event.step == step - 1
        if before and not asked:
            asked.append(step)
            sitting.ask(name)

    return listen


ASKED = {"cut short": in_the_evaluation_of, "left out": before_the_evaluation_of}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Sitting:
    """Best at step 2; its patience runs out at step 6."""
    return sit(config(tmp_path_factory.mktemp("unbroken")))


def broken_at(folder: Path, listen: OnEvent, step: int, **settings: Any) -> tuple[Sitting, Sitting]:
    """A sitting that ends at the step without evaluating it, and the one that goes on from there."""
    first = sit(config(folder, **settings), listen)
    assert step not in losses(first)
    path = str(first.output / f"checkpoint-{step}")
    return first, sit(config(folder, resume_from_checkpoint=path, **settings))


@pytest.mark.parametrize("name", ["stop", "park"])
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    "step",
    [
        pytest.param(2, id="the best"),
        pytest.param(4, id="one that counts", marks=pytest.mark.slow),
        pytest.param(6, id="the last of the patience"),
    ],
)
def test_the_run_ends_as_if_it_had_not_been_broken(
    unbroken: Sitting, tmp_path: Path, name: CommandName, asked: str, step: int
) -> None:
    first, second = broken_at(tmp_path, ASKED[asked](step, name), step)
    assert losses(first) | losses(second) == losses(unbroken)
    assert second.of(RunEnded)[0].status == "completed"
    assert second.of(RunEnded)[0].step == unbroken.of(RunEnded)[0].step == 6
    assert ending(second) == ending(unbroken)
    assert second.adapter("final_model") == unbroken.adapter("final_model")


@pytest.mark.parametrize("name", ["stop", "park"])
@pytest.mark.parametrize("asked", ASKED)
def test_the_last_evaluation_is_made_up_for_where_nothing_is_left_to_train(
    tmp_path: Path, name: CommandName, asked: str
) -> None:
    """Each evaluation is better than the one before, so the last step's decides what the final model is."""
    settings: dict[str, Any] = {"turned": False, "max_steps": 4}
    whole = sit(config(tmp_path / "whole", **settings))
    first, second = broken_at(tmp_path / "broken", ASKED[asked](4, name), 4, **settings)
    assert losses(first) | losses(second) == losses(whole)
    assert second.of(StepLogged) == []
    assert [kind for kind, *_ in told(second, "nothing_left_to_train")] == ["nothing_left_to_train"]
    assert ending(second) == ending(whole) == []
    assert second.adapter("final_model") == whole.adapter("final_model") == whole.adapter("checkpoint-4")


def test_one_that_was_made_up_for_is_not_done_again(tmp_path: Path) -> None:
    _, second = broken_at(
        tmp_path, in_the_evaluation_of(4, "stop"), 4, early_stopping_patience=9, max_steps=6
    )
    path = str(second.output / "checkpoint-6")
    settings: dict[str, Any] = {"early_stopping_patience": 9, "max_steps": 8}
    third = sit(config(tmp_path, resume_from_checkpoint=path, **settings))
    assert list(losses(second)) == [4, 6]
    assert list(losses(third)) == [8]


def test_a_stop_while_it_is_made_up_for_leaves_it_due(tmp_path: Path, unbroken: Sitting) -> None:
    def stop_again(event: Event, sitting: Sitting) -> None:
        if isinstance(event, StageChanged) and event.stage == "evaluating":
            sitting.ask("stop")

    first = sit(config(tmp_path), in_the_evaluation_of(2, "stop"))
    path = str(first.output / "checkpoint-2")
    second = sit(config(tmp_path, resume_from_checkpoint=path), stop_again)
    assert second.of(RunEnded)[0].status == "stopped"
    assert losses(second) == {}
    third = sit(config(tmp_path, resume_from_checkpoint=path))
    assert losses(third) == losses(unbroken)
    assert third.adapter("final_model") == unbroken.adapter("final_model")


@pytest.mark.parametrize("resume", [False, True], ids=["in the same sitting", "found at a resume"])
def test_a_damaged_best_one_is_not_taken(tmp_path: Path, resume: bool) -> None:
    def spoil(folder: Path) -> None:
        file = folder / "adapter_model.safetensors"
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 0x41]))
        assert problem_of(folder) is not None

    def listen(event: Event, sitting: Sitting) -> None:
        if isinstance(event, Evaluated) and event.step == 6 and not resume:
            spoil(sitting.output / "checkpoint-2")

    sitting = sit(config(tmp_path), listen)
    if resume:
        spoil(sitting.output / "checkpoint-2")
        sitting = sit(config(tmp_path, resume_from_checkpoint=str(sitting.output / "checkpoint-6")))
    assert sitting.of(RunEnded)[0].status == "completed"
    assert sitting.adapter("final_model") == sitting.adapter("checkpoint-6")
    (alert,) = (a for a in sitting.of(AlertRaised) if a.kind == "final_is_best")
    assert alert.severity == "warning"
    assert "the final model is of step 6" in alert.message
