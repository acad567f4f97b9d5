"""The state of a run as its events tell it. A live run, an attached one and a replay fold alike."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from kto_tui.core.directory import checkpoint_step
from kto_tui.core.events import (
    AlertRaised,
    AnyEvent,
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointSaved,
    CommandDone,
    DataReady,
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

Status = Literal["starting", "running", "paused", "parked", "completed", "stopped", "failed", "died"]
CheckpointEvent = CheckpointSaved | CheckpointDeleted | CheckpointFailed
_HOLDING = ("paused", "parked")


@dataclass(frozen=True)
class RunState:
    """All that is known of a run. Times are seconds since the epoch.

    `step` is the newest that this sitting has reached, or gone on from; `total_steps` the one at which
    training ends, once it is known; `latest` the newest row, of this sitting or one before.
    `evaluations` are those that led to the present step, oldest first. `checkpoint_log` is everything that
    happened to checkpoints; `held_seconds` is how long this sitting was paused or parked, without the hold
    that may be going on now.
    """

    started: RunStarted | None = None
    sittings: int = 0
    step: int = 0
    total_steps: int | None = None
    stage: Stage | None = None
    stage_since: float | None = None
    progress: Progress | None = None
    held_seconds: float = 0.0
    model: ModelLoaded | None = None
    data: DataReady | None = None
    reference: ReferenceCacheReady | None = None
    latest: StepLogged | None = None
    evaluations: tuple[Evaluated, ...] = ()
    checkpoint_log: tuple[CheckpointEvent, ...] = ()
    devices: tuple[Device, ...] = ()
    alerts: tuple[AlertRaised, ...] = ()
    replies: Mapping[str, CommandDone] = field(default_factory=dict)
    ended: RunEnded | None = None
    last_time: float | None = None

    @property
    def checkpoints(self) -> tuple[CheckpointSaved, ...]:
        """The checkpoints that are there now, oldest first."""
        kept: dict[int, CheckpointSaved] = {}
        for event in self.checkpoint_log:
            if isinstance(event, CheckpointSaved):
                kept[event.step] = event
            elif isinstance(event, CheckpointDeleted):
                kept.pop(event.step, None)
        return tuple(kept[step] for step in sorted(kept))

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
        return "running" if self.latest or self.stage == "training" else "starting"

    def elapsed_seconds(self, now: float) -> float:
        """Length of this sitting up to `now` or its end, holds left out."""
        if self.started is None:
            return 0.0
        end = self.ended.time if self.ended else now
        holding = end - self.stage_since if self.stage in _HOLDING and self.stage_since else 0.0
        return max(0.0, end - self.started.time - self.held_seconds - holding)


def loss_of(event: Evaluated) -> float:
    """The loss of an evaluation, nan where it has none."""
    loss = event.metrics.get("loss")
    return math.nan if loss is None else loss


def apply(state: RunState, event: AnyEvent) -> RunState:
    """The state after one more event."""
    return replace(state, last_time=event.time, **_changes(state, event))


def _changes(state: RunState, event: AnyEvent) -> dict[str, Any]:
    """The fields that this event gives a new value."""
    match event:
        case RunStarted():
            return _begin(state, event)
        case StageChanged():
            return _enter(state, event)
        case Progress(stage="training"):
            return {"progress": event, "step": max(state.step, event.done), "total_steps": event.total}
        case Progress():
            return {"progress": event}
        case ModelLoaded():
            return {"model": event}
        case DataReady():
            return {"data": event}
        case ReferenceCacheReady():
            return {"reference": event}
        case StepLogged():
            return {
                "latest": event,
                "step": max(state.step, event.step),
                "total_steps": event.total_steps,
            }
        case Evaluated():
            return {"evaluations": (*state.evaluations, event)}
        case CheckpointSaved():
            log = (*state.checkpoint_log, event)
            return {"checkpoint_log": log, "step": max(state.step, event.step)}
        case CheckpointDeleted() | CheckpointFailed():
            return {"checkpoint_log": (*state.checkpoint_log, event)}
        case GpuSampled():
            return {"devices": event.devices}
        case AlertRaised():
            return {"alerts": (*state.alerts, event)}
        case CommandDone():
            return {"replies": {**state.replies, event.id: event}}
        case RunEnded():
            return {"ended": event, "progress": None, "step": max(state.step, event.step)}


def fold(events: Iterable[AnyEvent], state: RunState | None = None) -> RunState:
    """The state after all these events."""
    state = state or RunState()
    for event in events:
        state = apply(state, event)
    return state


def _begin(state: RunState, event: RunStarted) -> dict[str, Any]:
    resumed = checkpoint_step(Path(event.resumed_from)) if event.resumed_from else None
    return {
        "started": event,
        "step": resumed or 0,
        "total_steps": None,
        "sittings": state.sittings + 1,
        "evaluations": tuple(past for past in state.evaluations if past.step <= (resumed or 0)),
        "ended": None,
        "stage": None,
        "stage_since": event.time,
        "progress": None,
        "held_seconds": 0.0,
    }


def _enter(state: RunState, event: StageChanged) -> dict[str, Any]:
    held = state.held_seconds
    if state.stage in _HOLDING and state.stage_since is not None:
        held += max(0.0, event.time - state.stage_since)
    return {"stage": event.stage, "stage_since": event.time, "progress": None, "held_seconds": held}
