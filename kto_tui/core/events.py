"""What a run says about itself: frozen typed records, one JSON object a line in events.jsonl.

Metric names are TRL's. Sizes are bytes, times are seconds, tokens are counted per row. What is read is
bounded: a line with a figure that no run could have is no event.
"""

import re
import time as _clock
from collections.abc import Mapping
from typing import Annotated, Literal, Union

import msgspec

from kto_tui.core.datareport import DataReport

Stage = Literal[
    "loading_model",
    "preparing_data",
    "caching_reference",
    "training",
    "evaluating",
    "saving",
    "paused",
    "parked",
    "restarting",
]
SaveReason = Literal["scheduled", "requested", "best", "paused", "stopped", "final"]
Severity = Literal["info", "warning", "error"]

# Whole numbers that a float holds too, so that they may be divided and drawn.
MOST = 2**53
# The last second but a day of the year 9999: the end of the calendar in every time zone.
_LAST_TIME = 253_402_214_400
TEXT_LENGTH = 16 * 1024
DETAIL_LENGTH = 64 * 1024

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Moment = Annotated[float, msgspec.Meta(ge=0, le=_LAST_TIME)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH)]
Metrics = Annotated[Mapping[str, float | None], msgspec.Meta(max_length=1000)]
_Named = Annotated[Mapping[str, Text], msgspec.Meta(max_length=1000)]
_Figures = Annotated[Mapping[str, float], msgspec.Meta(max_length=1000)]


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=_snake_case):
    """Base of all events. `seq` is given by the supervisor, from 1; 0 means not journaled yet.

    `time` is the wall clock's, which may be set while the run goes on; `uptime` that of the machine's
    monotonic clock when the event was journaled, None where it is not known.
    """

    seq: Count = 0
    time: Moment = msgspec.field(default_factory=_clock.time)
    uptime: Annotated[float, msgspec.Meta(ge=0, le=1e12)] | None = None


def _shorten(event: Event, **lengths: int) -> None:
    """Cut texts that are too long to be read back: what happened matters more than every word of it."""
    for name in event.__struct_fields__:
        text, most = getattr(event, name), lengths.get(name, TEXT_LENGTH)
        if isinstance(text, str) and len(text) > most:
            msgspec.structs.force_setattr(event, name, text[: most - 1] + "…")


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of a device. Without an NVIDIA GPU there is one of kind `host`.

    For `gpu`, memory is what the whole device has in use. For `host`, it is the resident memory of
    the worker's processes against the machine's RAM. `utilization` is percent.
    """

    index: Count
    name: Text
    kind: Literal["gpu", "host"] = "gpu"
    memory_used_bytes: Count
    memory_total_bytes: Count
    utilization: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None


class RunStarted(Event, frozen=True, kw_only=True):
    """A sitting of the run begins: the first, or one more after a resume."""

    run_id: Text
    versions: _Named
    host: Text
    devices: Annotated[tuple[Text, ...], msgspec.Meta(max_length=1000)]
    resumed_from: Text | None = None


class StageChanged(Event, frozen=True, kw_only=True):
    """The worker entered this stage."""

    stage: Stage


class Progress(Event, frozen=True, kw_only=True):
    """How far a long stage is. `total` is 0 while it is unknown; `detail` names what is under way."""

    stage: Stage
    done: Count
    total: Count
    detail: Text = ""


class ModelLoaded(Event, frozen=True, kw_only=True):
    """The base is in memory. `parameters` are its own; `trainable_parameters` those of the adapters.

    `source` says where the weights came from.
    """

    name: Text
    parameters: Count
    trainable_parameters: Count
    quantization: Text
    dtype: Text
    device: Text
    source: Text = ""


class DataReady(Event, frozen=True, kw_only=True):
    """What is trained on. `weights` are (desirable, undesirable); percentiles are keyed p5, p50, p95."""

    desirable: Count
    undesirable: Count
    examples: Count
    dropped: Count
    truncated: Count
    weights: tuple[float, float]
    prompt_tokens: _Figures = {}
    completion_tokens: _Figures = {}


class DataReported(Event, frozen=True, kw_only=True):
    """What was found in the rows of a split, before training begins."""

    split: Literal["train", "eval"]
    report: DataReport


class ReferenceCacheReady(Event, frozen=True, kw_only=True):
    """Where the reference's log-probabilities come from. `path` is None where none are kept.

    `known` of the run's `blocks` need no computing; `bytes` is what lies on disk, other runs' blocks
    included, and `limit_bytes` what may.
    """

    path: Text | None
    blocks: Count
    known: Count
    bytes: Count
    limit_bytes: Count


class StepLogged(Event, frozen=True, kw_only=True):
    """Metrics at a logging step. `loss` is the mean since the last log; null means not finite."""

    step: Count
    total_steps: Count
    epoch: float
    metrics: Metrics
    eta_seconds: float | None = None


class Evaluated(Event, frozen=True, kw_only=True):
    """Metrics on the rows held out, keys without the `eval_` prefix.

    loss, rewards/chosen, rewards/rejected, rewards/margins, rewards/auc, kl, runtime (seconds) and
    samples_per_second. What cannot be told, as a margin without rows of both labels, is left out.
    """

    step: Count
    metrics: Metrics


class CheckpointSaved(Event, frozen=True, kw_only=True):
    """A whole checkpoint lies at `path`; `seconds` is how long writing it took.

    `reason` best: no evaluation before had as low a loss.
    """

    step: Count
    path: Text
    bytes: Count
    seconds: float
    reason: SaveReason


class CheckpointPinned(Event, frozen=True, kw_only=True):
    """The user asked for a checkpoint that was there already: it outlives the rotation from now on."""

    step: Count
    path: Text


class CheckpointDeleted(Event, frozen=True, kw_only=True):
    """An old checkpoint was removed to keep the newest few."""

    step: Count
    path: Text


class CheckpointFailed(Event, frozen=True, kw_only=True):
    """A checkpoint could not be written or removed; the run goes on."""

    step: Count
    path: Text
    error: Text

    def __post_init__(self) -> None:
        _shorten(self)


class GpuSampled(Event, frozen=True, kw_only=True):
    """Readings of the run's devices, taken by the supervisor."""

    devices: Annotated[tuple[Device, ...], msgspec.Meta(max_length=1000)]


class AlertRaised(Event, frozen=True, kw_only=True):
    """Something the user should know, and what to do about it.

    `detail` is what does not fit on a line, as the stacks of a process that stands still.
    """

    kind: Text
    severity: Severity
    message: Text
    advice: Text = ""
    step: Count | None = None
    detail: Annotated[str, msgspec.Meta(max_length=DETAIL_LENGTH)] = ""

    def __post_init__(self) -> None:
        _shorten(self, detail=DETAIL_LENGTH)


class CommandDone(Event, frozen=True, kw_only=True):
    """A request was carried out or turned down; `detail` says how or why."""

    id: Text
    command: Text
    outcome: Literal["done", "rejected"]
    detail: Text = ""

    def __post_init__(self) -> None:
        _shorten(self)


class RunEnded(Event, frozen=True, kw_only=True):
    """The sitting is over. `seconds` is its length; `error`, one line, why it failed or what was lost.

    `transient`: what failed may well not fail again.
    """

    status: Literal["completed", "stopped", "failed"]
    step: Count
    seconds: float
    error: Text | None = None
    exit_code: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31)] = 0
    transient: bool = False

    def __post_init__(self) -> None:
        _shorten(self)


AnyEvent = Union[
    RunStarted,
    StageChanged,
    Progress,
    ModelLoaded,
    DataReady,
    DataReported,
    ReferenceCacheReady,
    StepLogged,
    Evaluated,
    CheckpointSaved,
    CheckpointPinned,
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
    """The event as one line of JSON, newline included. Non-finite floats become null.

    Half characters, as in the name of a file that is no UTF-8, become question marks.
    """
    try:
        return _encoder.encode(event) + b"\n"
    except UnicodeEncodeError:
        return _encoder.encode(_whole_characters(msgspec.to_builtins(event))) + b"\n"


def _whole_characters(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_whole_characters(key): _whole_characters(item) for key, item in value.items()}
        case list() | tuple():
            return [_whole_characters(item) for item in value]
    return value


def decode_event(line: bytes) -> AnyEvent | None:
    """The event on this line; None for a torn one, a type this version does not know, absurd figures."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
