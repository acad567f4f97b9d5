"""What the user is told when training meets something, and what can be done about it."""

from pathlib import Path

from kto_tui.core.events import AlertRaised, Severity
from kto_tui.training.early import EarlyStopping
from kto_tui.training.recovery import Shrunk
from kto_tui.training.skipping import MOST_IN_A_ROW


def out_of_memory(shrunk: Shrunk, step: int) -> AlertRaised:
    """Memory ran out at this step, and less is passed through the model at once from now on."""
    if shrunk.evaluating:
        message = (
            f"the evaluation ran out of memory: {shrunk.now} rows at once from now on, not {shrunk.before}"
        )
        advice = "Its figures stay the same, and training is not touched."
    else:
        message = (
            f"out of memory: the micro-batch is now {shrunk.now} rows instead of {shrunk.before}, and there "
            "are twice as many of them; the step is done again"
        )
        advice = "Effective batch and schedule stay as they were. Less memory: --gradient-checkpointing on."
    return AlertRaised(kind="out_of_memory", severity="warning", message=message, advice=advice, step=step)


def stopped_early(early: EarlyStopping, step: int) -> AlertRaised:
    """The patience has run out at this step."""
    best = "none of its values was a number"
    if early.best_step is not None:
        best = f"the best was {early.best_loss:.4f} at step {early.best_step}"
    return AlertRaised(
        kind="stopped_early",
        severity="info",
        message=f"the evaluation loss has not come down any more, so the run ends; {best}",
        advice="Raise --early-stopping-patience to wait longer.",
        step=step,
    )


def final_is_best(early: EarlyStopping, found: bool, step: int) -> AlertRaised:
    """The run ends at `step`, and an earlier one was evaluated better, whose checkpoint is `found`."""
    best = f"step {early.best_step} was evaluated best (loss {early.best_loss:.4f})"
    if found:
        message, advice = f"{best}: the final model is of that step", "Later checkpoints are there as well."
    else:
        message = f"{best}, but its checkpoint is not there: the final model is of step {step}"
        advice = "It could not be written, was removed, or is damaged. Other checkpoints are as they were."
    severity: Severity = "info" if found else "warning"
    return AlertRaised(kind="final_is_best", severity=severity, message=message, advice=advice, step=step)


def cache_trouble(problem: str) -> AlertRaised:
    """The reference cache cannot be written, or not be used at all."""
    return AlertRaised(
        kind="reference_cache",
        severity="warning",
        message=problem,
        advice="Training goes on, only later runs start cold. Choose another folder with --reference-cache.",
    )


def step_skipped(step: int, rows: str, in_a_row: int) -> AlertRaised:
    """Loss or gradients of this step were not finite, so it changed nothing."""
    return AlertRaised(
        kind="step_skipped",
        severity="warning",
        message=f"step {step} was skipped: loss or gradients are not finite ({rows})",
        advice=f"The weights are as they were. After {MOST_IN_A_ROW} in a row the run stops; this was number "
        f"{in_a_row}. Look at these rows, or lower --learning-rate.",
        step=step,
    )


def lost(step: int, rows: str, newest: Path | None) -> str:
    """Why a run ends whose steps have all been skipped of late."""
    return (
        f"loss or gradients were not finite in {MOST_IN_A_ROW} steps in a row, up to step {step}: {rows}; "
        f"{_kept(newest)}. Look at these rows, or lower --learning-rate"
    )


def weights_lost(step: int, newest: Path | None) -> str:
    """Why nothing is saved of a step, and the run ends."""
    problem = f"the weights at step {step} are not finite and were not saved"
    return f"{problem}; {_kept(newest)}. Lower --learning-rate"


def _kept(newest: Path | None) -> str:
    return f"the last good checkpoint is {newest.name}" if newest else "there is no checkpoint yet"


def settings_changed(changes: str, step: int, *, harmless: bool) -> AlertRaised:
    """The run goes on from a checkpoint with settings that were others when it was written."""
    told = "The final weights do not depend on them."
    risk = "The result may be another one than that of a run without changes."
    return AlertRaised(
        kind="settings_changed",
        severity="info",
        message=f"settings changed since step {step}: {changes}",
        advice=told if harmless else risk,
        step=step,
    )
