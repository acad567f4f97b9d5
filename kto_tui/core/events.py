"""What a run says about itself: frozen typed records, one JSON object a line in events.jsonl.

Metric names are TRL's. Sizes are bytes, times are seconds, tokens are counted per row.
"""

import re
import time as _clock
from collections.abc import Mapping
from typing import Literal, Union

import msgspec

Stage = Literal[
    "loading_model",
    "preparing_data",
    "caching_reference",
    "training",
    "evaluating",
    "saving",
    "paused",
    "parked",
]
SaveReason = Literal["scheduled", "requested", "best", "paused", "stopped", "final"]
Severity = Literal["info", "warning", "error"]
Metrics = Mapping[str, float | None]


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=_snake_case):
    """Base of all events. `seq` is given by the supervisor, from 1; 0 means not journaled yet."""

    seq: int = 0
    time: float = msgspec.field(default_factory=_clock.time)


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of a device. Without an NVIDIA GPU there is one of kind `host`.

    For `gpu`, memory is what the whole device has in use. For `host`, it is the resident memory of
    the worker's processes against the machine's RAM. `utilization` is percent.
    """

    index: int
    name: str
    kind: Literal["gpu", "host"] = "gpu"
    memory_used_bytes: int
    memory_total_bytes: int
    utilization: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None


class RunStarted(Event, frozen=True, kw_only=True):
    """A sitting of the run begins: the first, or one more after a resume."""

    run_id: str
    versions: Mapping[str, str]
    host: str
    devices: tuple[str, ...]
    resumed_from: str | None = None


class StageChanged(Event, frozen=True, kw_only=True):
    """The worker entered this stage."""

    stage: Stage


class Progress(Event, frozen=True, kw_only=True):
    """How far a long stage is. `total` is 0 while it is unknown; `detail` names what is under way."""

    stage: Stage
    done: int
    total: int
    detail: str = ""


class ModelLoaded(Event, frozen=True, kw_only=True):
    """The base is in memory. `parameters` are its own; `trainable_parameters` those of the adapters.

    `source` says where the weights came from.
    """

    name: str
    parameters: int
    trainable_parameters: int
    quantization: str
    dtype: str
    device: str
    source: str = ""


class DataReady(Event, frozen=True, kw_only=True):
    """What is trained on. `weights` are (desirable, undesirable); percentiles are keyed p5, p50, p95."""

    desirable: int
    undesirable: int
    examples: int
    dropped: int
    truncated: int
    weights: tuple[float, float]
    prompt_tokens: Mapping[str, float] = {}
    completion_tokens: Mapping[str, float] = {}


class ReferenceCacheReady(Event, frozen=True, kw_only=True):
    """Where the reference's log-probabilities come from. `path` is None where none are kept.

    `known` of the run's `blocks` need no computing; `bytes` is what lies on disk, other runs' blocks
    included, and `limit_bytes` what may.
    """

    path: str | None
    blocks: int
    known: int
    bytes: int
    limit_bytes: int


class StepLogged(Event, frozen=True, kw_only=True):
    """Metrics at a logging step. `loss` is the mean since the last log; null means not finite."""

    step: int
    total_steps: int
    epoch: float
    metrics: Metrics
    eta_seconds: float | None = None


class Evaluated(Event, frozen=True, kw_only=True):
    """Metrics on the rows held out, keys without the `eval_` prefix.

    loss, rewards/chosen, rewards/rejected, rewards/margins, rewards/auc, kl, runtime (seconds) and
    samples_per_second. What cannot be told, as a margin without rows of both labels, is left out.
    """

    step: int
    metrics: Metrics


class CheckpointSaved(Event, frozen=True, kw_only=True):
    """A whole checkpoint lies at `path`; `seconds` is how long writing it took.

    `reason` best: no evaluation before had as low a loss.
    """

    step: int
    path: str
    bytes: int
    seconds: float
    reason: SaveReason


class CheckpointDeleted(Event, frozen=True, kw_only=True):
    """An old checkpoint was removed to keep the newest few."""

    step: int
    path: str


class CheckpointFailed(Event, frozen=True, kw_only=True):
    """A checkpoint could not be written or removed; the run goes on."""

    step: int
    path: str
    error: str


class GpuSampled(Event, frozen=True, kw_only=True):
    """Readings of the run's devices, taken by the supervisor."""

    devices: tuple[Device, ...]


class AlertRaised(Event, frozen=True, kw_only=True):
    """Something the user should know, and what to do about it."""

    kind: str
    severity: Severity
    message: str
    advice: str = ""
    step: int | None = None


class CommandDone(Event, frozen=True, kw_only=True):
    """A request was carried out or turned down; `detail` says how or why."""

    id: str
    command: str
    outcome: Literal["done", "rejected"]
    detail: str = ""


class RunEnded(Event, frozen=True, kw_only=True):
    """The sitting is over. `seconds` is its length; `error`, one line, why it failed or what was lost."""

    status: Literal["completed", "stopped", "failed"]
    step: int
    seconds: float
    error: str | None = None
    exit_code: int = 0


AnyEvent = Union[
    RunStarted,
    StageChanged,
    Progress,
    ModelLoaded,
    DataReady,
    ReferenceCacheReady,
    StepLogged,
    Evaluated,
    CheckpointSaved,
    CheckpointDeleted,
    CheckpointFailed,
    GpuSampled,
    AlertRaised,
    CommandDone,
    RunEnded,
]

# Readings that the next one replaces: the worker may drop these when nobody takes them.
DROPPABLE = (Progress, GpuSampled)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode_event(event: Event) -> bytes:
    """The event as one line of JSON, newline included. Non-finite floats become null."""
    return _encoder.encode(event) + b"\n"


def decode_event(line: bytes) -> AnyEvent | None:
    """The event on this line, or None for a torn line or a type this version does not know."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
