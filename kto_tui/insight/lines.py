"""Lines of the dashboard's logs: what happened to checkpoints, alerts, and requests with their replies."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kto_tui.core.commands import CommandName
from kto_tui.core.events import (
    AlertRaised,
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointSaved,
    CommandDone,
    ReferenceCacheReady,
)
from kto_tui.insight.reference import reference_text
from kto_tui.insight.state import CheckpointEvent, RunState
from kto_tui.insight.text import clean_text, format_bytes, format_seconds, full_stop

Tone = Literal["plain", "dim", "good", "warning", "bad"]
CHECKPOINT_HEAD = f"{'Step':>5}  {'Path':<15} {'Size':>7} {'Time':>6}  Reason"


@dataclass(frozen=True)
class Piece:
    """A stretch of plain text and how it is meant."""

    text: str
    tone: Tone = "plain"


Line = tuple[Piece, ...]


@dataclass(frozen=True)
class Asked:
    """A request made from this dashboard. `problem` says why it could not even be written down."""

    command: CommandName
    time: float
    id: str = ""
    problem: str = ""


def checkpoint_line(event: CheckpointEvent) -> Line:
    """One line of the checkpoint log. All checkpoints of a run lie in its folder: the name is enough."""
    where = f"{event.step:>5}  {clean_text(Path(event.path).name):<15}"
    match event:
        case CheckpointSaved():
            size = f" {format_bytes(event.bytes):>7} {format_seconds(event.seconds):>6}  "
            return Piece(where + size), Piece(event.reason, "dim" if event.reason == "scheduled" else "good")
        case CheckpointDeleted():
            return (Piece(where + " deleted (newer kept)", "dim"),)
        case CheckpointFailed():
            return Piece(where), Piece(" FAILED: " + clean_text(event.error), "bad")


def notices(state: RunState, asked: Sequence[Asked], over: bool, limit: int = 200) -> tuple[Line, ...]:
    """Alerts, failed checkpoints, requests, and where the reference comes from, in the order of their time.

    The newest `limit`.
    """
    own = {request.id for request in asked if request.id}
    lines = [(alert.time, alert_line(alert)) for alert in state.alerts[-limit:]]
    if state.reference is not None:
        lines.append((state.reference.time, _reference_line(state.reference)))
    lines += [
        (event.time, _failed_line(event))
        for event in state.checkpoint_log
        if isinstance(event, CheckpointFailed)
    ]
    lines += [(request.time, request_line(request, state, over)) for request in asked[-limit:]]
    lines += [(reply.time, _foreign_line(reply)) for reply in state.replies.values() if reply.id not in own]
    lines.sort(key=lambda pair: pair[0])
    return tuple(line for _, line in lines[-limit:])


def clock_text(seconds: float) -> str:
    """A moment as local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def moment_text(seconds: float) -> str:
    """A moment as local date and time, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def alert_line(alert: AlertRaised) -> Line:
    """What is wrong, where, and what to do about it."""
    mark, tone = _SEVERITY[alert.severity]
    step = f" (step {alert.step})" if alert.step is not None else ""
    message = clean_text(alert.message)
    end = full_stop(message) if alert.advice else ""
    advice = (Piece(" " + clean_text(alert.advice)),) if alert.advice else ()
    return (
        Piece(clock_text(alert.time) + " ", "dim"),
        Piece(f"{mark} {message}{step}{end}", tone),
        *advice,
    )


_SEVERITY: dict[str, tuple[str, Tone]] = {
    "info": ("i", "plain"),
    "warning": ("!", "warning"),
    "error": ("✗", "bad"),
}


def _reference_line(event: ReferenceCacheReady) -> Line:
    return Piece(clock_text(event.time) + " ", "dim"), Piece("i reference: " + reference_text(event))


def _failed_line(event: CheckpointFailed) -> Line:
    text = f"✗ checkpoint at step {event.step} failed: {clean_text(event.error)}"
    return Piece(clock_text(event.time) + " ", "dim"), Piece(text, "bad")


def request_line(request: Asked, state: RunState, over: bool) -> Line:
    """A request and what has become of it, as far as the run has said."""
    when = Piece(clock_text(request.time) + " ", "dim")
    if request.problem:
        return when, Piece(f"✗ {request.command} could not be asked: {clean_text(request.problem)}", "bad")
    reply = state.replies.get(request.id)
    if reply is not None:
        return when, _reply_piece(request.command, reply)
    if unanswered(request, state, over):
        return when, Piece(f"✗ {request.command}: no answer before the run ended", "warning")
    return when, Piece(f"… {request.command} asked, waiting for the run", "plain")


def unanswered(request: Asked, state: RunState, over: bool) -> bool:
    """Whether no answer can come any more: the sitting that was asked is over."""
    begun_since = state.started is not None and state.started.time > request.time
    return over or (begun_since and state.sittings > 1)


def _reply_piece(command: str, reply: CommandDone) -> Piece:
    detail = f": {clean_text(reply.detail)}" if reply.detail else ""
    if reply.outcome == "done":
        return Piece(f"✓ {clean_text(command)} done{detail}", "good")
    return Piece(f"✗ {clean_text(command)} rejected{detail}", "warning")


def _foreign_line(reply: CommandDone) -> Line:
    return Piece(clock_text(reply.time) + " ", "dim"), _reply_piece(reply.command, reply)
