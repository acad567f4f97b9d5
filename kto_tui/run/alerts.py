"""What the supervisor tells the user by itself."""

from pathlib import Path

from kto_tui.core.events import AlertRaised, RunEnded
from kto_tui.core.manifest import PassedOver


def checkpoint_passed_over(damaged: PassedOver, taken: str | None) -> AlertRaised:
    """A newer checkpoint than the one taken is not what was written."""
    instead = f"It goes on from {Path(taken).name}." if taken else "It starts from the beginning."
    return AlertRaised(
        kind="checkpoint_passed_over",
        severity="warning",
        message=f"{damaged.path.name} is damaged and was passed over: {damaged.problem}",
        advice=f"{instead} Check the disk if this happens again.",
    )


def worker_died(failure: RunEnded, delay: float, which: str, *, saved: bool) -> AlertRaised:
    """The worker is gone, and another one will go on."""
    start = "the newest checkpoint" if saved else "the beginning: nothing was saved yet"
    return AlertRaised(
        kind="worker_died",
        severity="warning",
        message=failure.error or "the worker died",
        advice=f"It is started again from {start} in {delay:.0f} s ({which}).",
        step=failure.step,
    )


def journal_waits(problem: str) -> AlertRaised:
    """The journal cannot be written at the moment."""
    return AlertRaised(
        kind="journal_waits",
        severity="error",
        message=f"events.jsonl cannot be written: {problem}",
        advice="Training goes on, and events wait in memory. Make room on the disk: they are then written.",
    )


def requests_not_taken(problem: str) -> AlertRaised:
    """commands.jsonl may hold what somebody else wrote."""
    return AlertRaised(
        kind="requests_not_taken",
        severity="warning",
        message=f"requests in commands.jsonl are not taken: {problem}",
        advice="It has to be a file of the user who runs this, writable by nobody else (chmod 600).",
    )
