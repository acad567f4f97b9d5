"""The state of a run as its events tell it. A live run, an attached one and a replay fold alike."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from kto_tui.core.datareport import DataReport
from kto_tui.core.directory import checkpoint_step
from kto_tui.core.events import (
    MOST,
    AlertRaised,
    AnyEvent,
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointPinned,
    CheckpointSaved,
    CommandDone,
    DataReady,
    DataReported,
    Device,
    Evaluated,
    GpuSampled,
    ModelLoaded,
    Progress,
    ReferenceCacheReady,
    RunEnded,
    RunStarted,
    Stage,
    StageChanged,
    StepLogged,
)
from kto_tui.insight.steady import Steady

Status = Literal[
    "starting", "restarting", "running", "paused", "parked", "completed", "stopped", "failed", "died"
]
CheckpointEvent = CheckpointSaved | CheckpointPinned | CheckpointDeleted | CheckpointFailed
ItemT = TypeVar("ItemT")
KeyT = TypeVar("KeyT")
KEPT = 1000
_HOLDING = ("paused", "parked")
# A supervisor that lives has something to say more often than that.
_GONE_SECONDS = 60.0


@dataclass(frozen=True)
class RunState:
    """All that is known of a run. Of what grows with its length, the newest `KEPT` at least are here.

    `step` is the newest that this sitting has reached, or gone on from; `total_steps` the one at which
    training ends, once it is known; `latest` the newest row, of this sitting or one before, and
    `latest_at` when it came, None unless in this sitting. `trained`: whether this sitting has begun to.
    `evaluations` are those that led to the present step, oldest first. `checkpoint_log` is the newest of
    the `checkpoint_events` that happened to checkpoints, and `checkpoints_at` those that are there, by
    step. `held_seconds` is how long this sitting was paused or parked, without the hold that may be going
    on now.

    `last_time` is the wall clock's. `since`, `stage_since` and `latest_at` are moments of `steady`. A worker
    that is started again after a fault goes on with the sitting: `since` and `asked_since`, the same on the
    wall clock, stay.
    """

    started: RunStarted | None = None
    sittings: int = 0
    since: float | None = None
    asked_since: float | None = None
    steady: Steady = field(default_factory=Steady)
    step: int = 0
    total_steps: int | None = None
    stage: Stage | None = None
    stage_since: float | None = None
    trained: bool = False
    progress: Progress | None = None
    held_seconds: float = 0.0
    model: ModelLoaded | None = None
    data: DataReady | None = None
    reports: Mapping[str, DataReport] = field(default_factory=dict)
    reference: ReferenceCacheReady | None = None
    latest: StepLogged | None = None
    latest_at: float | None = None
    evaluations: tuple[Evaluated, ...] = ()
    checkpoint_log: tuple[CheckpointEvent, ...] = ()
    checkpoint_events: int = 0
    checkpoints_at: Mapping[int, CheckpointSaved] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    alerts: tuple[AlertRaised, ...] = ()
    replies: Mapping[str, CommandDone] = field(default_factory=dict)
    ended: RunEnded | None = None
    last_time: float | None = None

    @property
    def checkpoints(self) -> tuple[CheckpointSaved, ...]:
        """The checkpoints that are there now, oldest first. Of a pinned one the reason is `requested`."""
        return tuple(self.checkpoints_at[step] for step in sorted(self.checkpoints_at))

    @property
    def best_evaluation(self) -> Evaluated | None:
        """The first of those with the lowest loss; None while none has a finite one."""
        with_loss = [event for event in self.evaluations if math.isfinite(loss_of(event))]
        return min(with_loss, key=loss_of, default=None)

    def status(self, alive: bool) -> Status:
        """What the run is doing. `alive`: whether a supervisor holds its lock."""
        if self.ended is not None:
            return self.ended.status
        if not alive:
            return "died"
        if self.stage == "paused":
            return "paused"
        if self.stage == "parked":
            return "parked"
        if self.stage == "restarting":
            return "restarting"
        return "running" if self.trained else "starting"

    def elapsed_seconds(self, now: float) -> float:
        """Length of this sitting up to `now`, on the wall clock, or its end; holds left out."""
        if self.since is None:
            return 0.0
        end = self.steady.now if self.ended else self.steady.at(now)
        holding = end - self.stage_since if self.stage in _HOLDING and self.stage_since is not None else 0.0
        return max(0.0, end - self.since - self.held_seconds - holding)


def loss_of(event: Evaluated) -> float:
    """The loss of an evaluation, nan where it has none."""
    loss = event.metrics.get("loss")
    return math.nan if loss is None else loss


def apply(state: RunState, event: AnyEvent) -> RunState:
    """The state after one more event."""
    steady = state.steady.after(event)
    return replace(state, last_time=event.time, steady=steady, **_changes(state, event, steady.now))


def _changes(state: RunState, event: AnyEvent, now: float) -> dict[str, Any]:
    """The fields that this event gives a new value."""
    match event:
        case RunStarted():
            return _begin(state, event, now)
        case StageChanged():
            return _enter(state, event, now)
        case Progress(stage="training"):
            return {"progress": event, "step": max(state.step, event.done), "total_steps": event.total}
        case Progress():
            return {"progress": event}
        case ModelLoaded():
            return {"model": event}
        case DataReady():
            return {"data": event}
        case DataReported():
            return {"reports": {**state.reports, event.split: event.report}}
        case ReferenceCacheReady():
            return {"reference": event}
        case StepLogged():
            step = max(state.step, event.step)
            total = event.total_steps
            return {"latest": event, "latest_at": now, "trained": True, "step": step, "total_steps": total}
        case Evaluated():
            return {"evaluations": _with_evaluation(state, event)}
        case CheckpointSaved() | CheckpointDeleted() | CheckpointFailed() | CheckpointPinned():
            return _on_checkpoint(state, event)
        case GpuSampled():
            return {"devices": event.devices}
        case AlertRaised():
            return {"alerts": _added(state.alerts, event)}
        case CommandDone():
            return {"replies": _put(state.replies, event.id, event)}
        case RunEnded():
            return {"ended": event, "progress": None, "step": max(state.step, event.step)}


def fold(events: Iterable[AnyEvent], state: RunState | None = None) -> RunState:
    """The state after all these events."""
    state = state or RunState()
    for event in events:
        state = apply(state, event)
    return state


def resumed_step(event: RunStarted | None) -> int:
    """The step that a sitting goes on from, as the name of its checkpoint tells; 0 where there is none."""
    if event is None or event.resumed_from is None:
        return 0
    try:
        return min(checkpoint_step(Path(event.resumed_from)) or 0, MOST)
    except ValueError:  # More digits than Python reads.
        return 0


def _begin(state: RunState, event: RunStarted, now: float) -> dict[str, Any]:
    """One more sitting; or, after a fault, the same one with another worker."""
    waited = now - state.steady.now < _GONE_SECONDS
    goes_on = state.stage == "restarting" and state.ended is None and waited
    resumed = resumed_step(event)
    return {
        "started": event,
        "step": resumed,
        "total_steps": None,
        "sittings": state.sittings + 1,
        "since": state.since if goes_on else now,
        "asked_since": state.asked_since if goes_on else event.time,
        "held_seconds": state.held_seconds if goes_on else 0.0,
        "evaluations": tuple(past for past in state.evaluations if past.step <= resumed),
        "ended": None,
        "stage": None,
        "stage_since": now,
        "trained": False,
        "latest_at": None,
        "progress": None,
    }


def _enter(state: RunState, event: StageChanged, now: float) -> dict[str, Any]:
    held = state.held_seconds
    if state.stage in _HOLDING and state.stage_since is not None:
        held += max(0.0, now - state.stage_since)
    trained = state.trained or event.stage == "training"
    return {
        "stage": event.stage,
        "stage_since": now,
        "progress": None,
        "held_seconds": held,
        "trained": trained,
    }


def _on_checkpoint(state: RunState, event: CheckpointEvent) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "checkpoint_log": _added(state.checkpoint_log, event),
        "checkpoint_events": state.checkpoint_events + 1,
    }
    there = state.checkpoints_at
    match event:
        case CheckpointSaved():
            changes["checkpoints_at"] = _put(there, event.step, event)
            changes["step"] = max(state.step, event.step)
        case CheckpointPinned() if event.step in there:
            pinned = msgspec.structs.replace(there[event.step], reason="requested")
            changes["checkpoints_at"] = {**there, event.step: pinned}
        case CheckpointDeleted():
            changes["checkpoints_at"] = {step: saved for step, saved in there.items() if step != event.step}
    return changes


def _with_evaluation(state: RunState, event: Evaluated) -> tuple[Evaluated, ...]:
    """The best one stays, however long ago it was."""
    evaluations = _added(state.evaluations, event)
    if len(evaluations) > len(state.evaluations):
        return evaluations
    best = state.best_evaluation
    return evaluations if best is None or best in evaluations else (best, *evaluations)


def _added(items: tuple[ItemT, ...], item: ItemT) -> tuple[ItemT, ...]:
    """One more at the end. Cut now and then, so that many cost no more each than few."""
    items = (*items, item)
    return items if len(items) <= 2 * KEPT else items[-KEPT:]


def _put(items: Mapping[KeyT, ItemT], key: KeyT, item: ItemT) -> dict[KeyT, ItemT]:
    """With this one as the newest, and without the oldest where they are too many."""
    kept = {**items}
    kept.pop(key, None)
    kept[key] = item
    if len(kept) > KEPT:
        del kept[next(iter(kept))]
    return kept
