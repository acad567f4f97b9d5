"""Moments of a run that can be told from outside: by its journal and by the files in its folder."""

from collections.abc import Callable
from dataclasses import dataclass

from kto_tui.core.directory import MANIFEST_NAME, checkpoint_step
from kto_tui.core.events import CheckpointSaved, StageChanged
from tests.faults.harness import Missed, Run, wait_until


@dataclass(frozen=True)
class Moment:
    """`now` is asked every millisecond, so it only looks at names and at news."""

    name: str
    now: Callable[[Run], bool]


def at_step(step: int) -> Moment:
    return Moment(f"after step {step}", lambda run: run.step >= step)


def in_stage(stage: str) -> Moment:
    return Moment(f"while {stage}", lambda run: run.stage == stage)


def entered(stage: str) -> Moment:
    """This sitting has been there, if only for a moment."""
    return Moment(
        f"{stage} seen",
        lambda run: any(isinstance(event, StageChanged) and event.stage == stage for event in run.sitting),
    )


def _staged(run: Run, pattern: str) -> bool:
    return any(run.directory.staging.glob(pattern))


def _folders(run: Run) -> int:
    return sum(checkpoint_step(path) is not None for path in run.directory.path.iterdir())


def _half_deleted(run: Run) -> bool:
    """Taken out of its place, or in its place without a manifest."""
    return _staged(run, "old-*") or any(
        checkpoint_step(path) is not None and not (path / MANIFEST_NAME).is_file()
        for path in run.directory.path.iterdir()
    )


STAGING = Moment("while a checkpoint is written", lambda run: _staged(run, "checkpoint-*"))
TENSORS = Moment("between its files", lambda run: _staged(run, "checkpoint-*/*.safetensors"))
MANIFEST = Moment(
    "manifest written, not yet renamed", lambda run: _staged(run, f"checkpoint-*/{MANIFEST_NAME}*")
)
RENAMED = Moment(
    "renamed, old one not yet rotated", lambda run: _folders(run) > run.settings.save_total_limit
)
ROTATING = Moment("while an old one is deleted", _half_deleted)
FINAL = Moment("while final_model is written", lambda run: _staged(run, "final_model"))
TRAINING = Moment("as training begins", entered("training").now)
SAVED = Moment(
    "as the first checkpoint is announced",
    lambda run: any(isinstance(event, CheckpointSaved) for event in run.sitting),
)


def appending(run: Run) -> Moment:
    """The journal has just grown: the next line, or the sync of this one, is under way."""
    size = run.directory.events.stat().st_size
    return Moment("as the journal is appended", lambda run: run.directory.events.stat().st_size > size)


def meet(run: Run, moment: Moment) -> None:
    """Return at the moment. Raises Missed if the run ended without it."""
    wait_until(lambda: moment.now(run) or run.over, moment.name)
    if run.over and not moment.now(run):
        raise Missed(f"{moment.name}: the run was over before it was seen")
