"""Picking events by what they are about."""

from kto_tui.core.events import AlertRaised, CommandDone
from tests.faults.harness import Run


def alerts(run: Run, kind: str) -> list[AlertRaised]:
    return [event for event in run.of(AlertRaised) if event.kind == kind]


def reply(run: Run, request: str) -> CommandDone | None:
    """The answer to a request, by its id."""
    return next((event for event in run.of(CommandDone) if event.id == request), None)
