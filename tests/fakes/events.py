"""Events of all kinds for property tests: likely ones, and such as only an enemy would write."""

from typing import Any, get_args

import msgspec
from hypothesis import strategies as st

from kto_tui.core.events import MOST, AnyEvent, Device, decode_event, encode_event

HOSTILE = "[bold red]x[/] \x1b[2J\x1b]0;owned\x07\x9d\x90 [@click=app.quit]y[/] \u202e\u2066\u200b\r\n\t字"
TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["", HOSTILE, "x" * 5000, "字" * 200, "checkpoint-5", "out/checkpoint-" + "9" * 5000]),
)
COUNTS = st.one_of(st.integers(0, MOST), st.sampled_from([0, 1, 5, 9999, MOST]))
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324, 9999.9999, -99_999.5, 1e18]),
)
_METRIC_NAMES = (
    "loss learning_rate kl rewards/chosen rewards/rejected rewards/margins rewards/auc gpu_memory_bytes "
    "samples_per_second tokens_per_second"
)
METRICS = st.dictionaries(st.sampled_from([*_METRIC_NAMES.split(), HOSTILE]), st.none() | FLOATS)
FIGURES = st.dictionaries(st.sampled_from(["p5", "p50", "p95"]), FLOATS)
TIMES = st.one_of(st.floats(0, 253_402_214_400), st.floats(1.7e9, 1.7e9 + 10_000))
DEVICES = st.builds(
    Device,
    index=COUNTS,
    name=TEXTS,
    kind=st.sampled_from(["gpu", "host"]),
    memory_used_bytes=COUNTS,
    memory_total_bytes=COUNTS,
    utilization=st.none() | FLOATS,
    temperature_c=st.none() | FLOATS,
    power_w=st.none() | FLOATS,
)
# By the field's name where its type alone does not tell.
_NAMED: dict[str, st.SearchStrategy[Any]] = {
    "time": TIMES,
    "uptime": st.none() | st.floats(0, 1e12),
    "metrics": METRICS,
    "prompt_tokens": FIGURES,
    "completion_tokens": FIGURES,
    "weights": st.tuples(FLOATS, FLOATS),
    "versions": st.dictionaries(TEXTS, TEXTS, max_size=2),
    "exit_code": st.integers(-255, 255),
    "step": COUNTS,
    "transient": st.booleans(),
}


def _field(kind: type[AnyEvent], field: msgspec.structs.FieldInfo) -> st.SearchStrategy[Any]:
    if field.name in _NAMED:
        return _NAMED[field.name]
    if field.name == "devices":
        return st.lists(TEXTS if kind.__name__ == "RunStarted" else DEVICES, max_size=3).map(tuple)
    return _typed(msgspec.inspect.type_info(field.type))


def _typed(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case msgspec.inspect.IntType():
            return COUNTS
        case msgspec.inspect.FloatType():
            return FLOATS
        case msgspec.inspect.StrType():
            return TEXTS
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.LiteralType():
            return st.sampled_from(kind.values)
        case msgspec.inspect.UnionType():
            return st.one_of(*map(_typed, kind.types))
        case msgspec.inspect.VarTupleType():
            return st.lists(_typed(kind.item_type), max_size=3).map(tuple)
        case msgspec.inspect.TupleType():
            return st.tuples(*map(_typed, kind.item_types))
        case msgspec.inspect.DictType():
            return st.dictionaries(_typed(kind.key_type), _typed(kind.value_type), max_size=3)
        case msgspec.inspect.StructType():
            return st.builds(kind.cls, **{field.name: _typed(field.type) for field in kind.fields})
    raise AssertionError(f"no values are known for {kind}")


def events_of(kind: type[AnyEvent]) -> st.SearchStrategy[AnyEvent]:
    """Events of one type, with figures and texts at the edge of what is allowed."""
    fields = {field.name: _field(kind, field) for field in msgspec.structs.fields(kind)}
    return st.builds(kind, **fields)


def _read_back(event: AnyEvent) -> AnyEvent:
    read = decode_event(encode_event(event))
    assert read is not None, event
    return read


# Events as a reader has them, of all types.
EVENTS: st.SearchStrategy[AnyEvent] = st.one_of(*map(events_of, get_args(AnyEvent))).map(_read_back)
