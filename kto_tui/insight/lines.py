"""Lines of the dashboard's logs: what happened to checkpoints, alerts, and requests with their replies."""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from kto_tui.core.commands import CommandName
from kto_tui.core.events import (
    AlertRaised,
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointPinned,
    CheckpointSaved,
    CommandDone,
    ReferenceCacheReady,
)
from kto_tui.insight.reference import reference_text
from kto_tui.insight.state import CheckpointEvent, RunState
from kto_tui.insight.text import MISSING, clean_lines, clean_text, format_bytes, format_seconds, full_stop

ItemT = TypeVar("ItemT")
_LONGEST = 1000
_DETAIL_LINES = 400
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


def checkpoint_line(event: CheckpointEvent, *, keep_requested: bool = True) -> Line:
    """One line of the checkpoint log. All checkpoints of a run lie in its folder: the name is enough.

    `keep_requested`: one that was asked for outlives the rotation.
    """
    where = f"{event.step:>5}  {_said(Path(event.path).name):<15}"
    match event:
        case CheckpointSaved():
            size = f" {format_bytes(event.bytes):>7} {format_seconds(event.seconds):>6}  "
            reason = save_reason(event, keep_requested)
            return Piece(where + size), Piece(reason, "dim" if reason == "scheduled" else "good")
        case CheckpointPinned():
            return Piece(where), Piece(" pinned (outlives the rotation)", "good")
        case CheckpointDeleted():
            return (Piece(where + " deleted (newer kept)", "dim"),)
        case CheckpointFailed():
            return Piece(where), Piece(" FAILED: " + _said(event.error), "bad")


def _said(text: str) -> str:
    """Text from outside, as much of it as a message may take."""
    return clean_text(text, _LONGEST)


def save_reason(event: CheckpointSaved, keep_requested: bool) -> str:
    """Why it was saved, in a word; of one that stays because it was asked for: pinned."""
    return "pinned" if event.reason == "requested" and keep_requested else event.reason


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
        for event in _newest(limit, (e for e in state.checkpoint_log if isinstance(e, CheckpointFailed)))
    ]
    lines += [(request.time, request_line(request, state, over)) for request in asked[-limit:]]
    foreign = (reply for reply in state.replies.values() if reply.id not in own)
    lines += [(reply.time, _foreign_line(reply)) for reply in _newest(limit, foreign)]
    lines.sort(key=lambda pair: pair[0])
    return tuple(line for _, line in lines[-limit:])


def _newest(limit: int, items: Iterable[ItemT]) -> deque[ItemT]:
    return deque(items, maxlen=limit)


def clock_text(seconds: float) -> str:
    """A moment as local time of day."""
    return _local_text("%H:%M:%S", seconds)


def moment_text(seconds: float) -> str:
    """A moment as local date and time, to the minute."""
    return _local_text("%Y-%m-%d %H:%M", seconds)


def _local_text(form: str, seconds: float) -> str:
    try:
        return time.strftime(form, time.localtime(seconds))
    except (ValueError, OverflowError, OSError):  # No calendar goes that far.
        return MISSING


def alert_line(alert: AlertRaised) -> Line:
    """What is wrong, where, and what to do about it; and that there is more to read."""
    mark, tone = _SEVERITY[alert.severity]
    step = f" (step {alert.step})" if alert.step is not None else ""
    message = _said(alert.message)
    end = full_stop(message) if alert.advice else ""
    advice = (Piece(" " + _said(alert.advice)),) if alert.advice else ()
    more = (Piece(" (enter: details)", "dim"),) if alert.detail else ()
    return (
        Piece(clock_text(alert.time) + " ", "dim"),
        Piece(f"{mark} {message}{step}{end}", tone),
        *advice,
        *more,
    )


def has_details(state: RunState) -> bool:
    """Whether an alert has more to say than its line."""
    return any(alert.detail for alert in state.alerts)


def detail_lines(state: RunState, limit: int = 3) -> tuple[Line, ...]:
    """What the newest `limit` alerts with details have to say, the newest first."""
    alerts = _newest(limit, (alert for alert in state.alerts if alert.detail))
    return tuple(line for alert in reversed(alerts) for line in _detailed(alert))


def _detailed(alert: AlertRaised) -> list[Line]:
    title = Piece(f"{clock_text(alert.time)} {_said(alert.message)}", "warning")
    lines = clean_lines(alert.detail)
    shown = [(Piece(text[:_LONGEST]),) for text in lines[:_DETAIL_LINES]]
    more = len(lines) - len(shown)
    rest = [(Piece(f"… and {more:,} lines more: run.log", "dim"),)] if more else []
    return [(title,), *shown, *rest, (Piece(""),)]


_SEVERITY: dict[str, tuple[str, Tone]] = {
    "info": ("i", "plain"),
    "warning": ("!", "warning"),
    "error": ("✗", "bad"),
}


def _reference_line(event: ReferenceCacheReady) -> Line:
    return Piece(clock_text(event.time) + " ", "dim"), Piece("i reference: " + reference_text(event))


def _failed_line(event: CheckpointFailed) -> Line:
    text = f"✗ checkpoint at step {event.step} failed: {_said(event.error)}"
    return Piece(clock_text(event.time) + " ", "dim"), Piece(text, "bad")


def request_line(request: Asked, state: RunState, over: bool) -> Line:
    """A request and what has become of it, as far as the run has said."""
    when = Piece(clock_text(request.time) + " ", "dim")
    if request.problem:
        return when, Piece(f"✗ {request.command} could not be asked: {_said(request.problem)}", "bad")
    reply = state.replies.get(request.id)
    if reply is not None:
        return when, _reply_piece(request.command, reply)
    if unanswered(request, state, over):
        return when, Piece(f"✗ {request.command}: no answer before the run ended", "warning")
    return when, Piece(f"… {request.command} asked, waiting for the run", "plain")


def unanswered(request: Asked, state: RunState, over: bool) -> bool:
    """Whether no answer can come any more: the sitting that was asked is over."""
    begun_since = state.asked_since is not None and state.asked_since > request.time
    return over or (begun_since and state.sittings > 1)


def _reply_piece(command: str, reply: CommandDone) -> Piece:
    detail = f": {_said(reply.detail)}" if reply.detail else ""
    if reply.outcome == "done":
        return Piece(f"✓ {_said(command)} done{detail}", "good")
    return Piece(f"✗ {_said(command)} rejected{detail}", "warning")


def _foreign_line(reply: CommandDone) -> Line:
    return Piece(clock_text(reply.time) + " ", "dim"), _reply_piece(reply.command, reply)
