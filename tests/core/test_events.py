"""Events and commands as lines of JSON."""

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kto_tui.core import datareport, events
from kto_tui.core.commands import append_command, decode_command, new_command
from kto_tui.core.events import (
    AnyEvent,
    Device,
    GpuSampled,
    RunStarted,
    StepLogged,
    decode_event,
    encode_event,
)
from tests.fakes.events import events_of

EXAMPLES: list[AnyEvent] = [
    RunStarted(run_id="a", versions={"torch": "2"}, host="h", devices=("g",), resumed_from="checkpoint-5"),
    events.StageChanged(stage="training"),
    events.Progress(stage="preparing_data", done=3, total=9, detail="tokenizing"),
    events.ModelLoaded(
        name="m", parameters=5, trainable_parameters=1, quantization="nf4", dtype="bfloat16", device="cuda:0"
    ),
    events.DataReady(
        desirable=1,
        undesirable=2,
        examples=3,
        dropped=0,
        truncated=1,
        weights=(1.0, 1.5),
        prompt_tokens={"p5": 1.0},
        completion_tokens={"p95": 7.0},
    ),
    events.DataReported(
        split="train",
        report=datareport.DataReport(
            sources=(datareport.SourceRead(name="a.jsonl", format="TRL unpaired", records=3, rows=3),),
            desirable=1,
            undesirable=2,
            dropped={"prompt fills the length": 1},
            histogram=(datareport.Bin(tokens=64, rows=3),),
            findings=(datareport.Finding(kind="duplicates", severity="info", message="m", examples=("a",)),),
        ),
    ),
    events.ReferenceCacheReady(path="/c", blocks=40, known=12, bytes=1_200_000, limit_bytes=10**9),
    StepLogged(step=5, total_steps=9, epoch=0.5, metrics={"loss": 0.5, "kl": None}, eta_seconds=1.5),
    events.Evaluated(step=5, metrics={"loss": 0.4}),
    events.CheckpointSaved(step=5, path="p", bytes=7, seconds=0.1, reason="scheduled"),
    events.CheckpointPinned(step=5, path="p"),
    events.CheckpointDeleted(step=5, path="p"),
    events.CheckpointFailed(step=5, path="p", error="disk full"),
    GpuSampled(devices=(Device(index=0, name="g", memory_used_bytes=1, memory_total_bytes=2, power_w=9.5),)),
    events.AlertRaised(kind="k", severity="warning", message="m", advice="a", step=5, detail="a\nb"),
    events.CommandDone(id="1", command="pause", outcome="done", detail="d"),
    events.RunEnded(status="failed", step=5, seconds=1.0, error="e", exit_code=1),
]


def test_there_is_an_example_of_each_type() -> None:
    assert {type(event) for event in EXAMPLES} == set(get_args(AnyEvent))


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_events_round_trip(event: AnyEvent) -> None:
    line = encode_event(event)
    assert line.count(b"\n") == 1
    assert decode_event(line) == event
    assert {"seq", "time", "type"} <= json.loads(line).keys()


def test_types_are_named_as_the_contract_names_them() -> None:
    assert json.loads(encode_event(EXAMPLES[0]))["type"] == "run_started"
    assert json.loads(encode_event(EXAMPLES[13]))["type"] == "gpu_sampled"


def test_events_are_frozen() -> None:
    event: Any = EXAMPLES[6]
    with pytest.raises(AttributeError):
        event.step = 6


def test_a_figure_that_is_not_finite_reads_as_none() -> None:
    event = StepLogged(step=1, total_steps=2, epoch=0, metrics={"loss": math.nan, "kl": math.inf})
    read = decode_event(encode_event(event))
    assert isinstance(read, StepLogged)
    assert read.metrics == {"loss": None, "kl": None}


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b'{"type":"step_logged","st', b'{"type":"from_the_future","seq":1}', b"[]", b"null",
        b'{"type":"step_logged","step":"five"}', b"\xff\xfe", b"[" * 100_000, b'{"step":5}',
    ],
)  # fmt: skip
def test_what_is_torn_unknown_or_hostile_is_no_event(line: bytes) -> None:
    assert decode_event(line) is None
    assert decode_command(line) is None


def test_commands_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    asked = [new_command("pause"), new_command("stop")]
    for command in asked:
        append_command(path, command)
    assert [decode_command(line) for line in path.read_bytes().splitlines()] == asked
    assert decode_command(b'{"id":"1","command":"rm","time":1}') is None


@pytest.mark.parametrize("kind", get_args(AnyEvent), ids=lambda kind: kind.__name__)
def test_whatever_an_event_says_is_read_back(kind: type[AnyEvent]) -> None:
    @given(events_of(kind))
    @settings(max_examples=40, deadline=None)
    def holds(event: AnyEvent) -> None:
        line = encode_event(event)
        assert line.count(b"\n") == 1
        assert decode_event(line) == event

    holds()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_bytes_make_the_reader_fail(line: bytes) -> None:
    assert decode_event(line) is None


@given(st.sampled_from(EXAMPLES), st.data())
@settings(max_examples=200, deadline=None)
def test_no_value_in_any_field_makes_the_reader_fail(example: AnyEvent, data: st.DataObject) -> None:
    fields = json.loads(encode_event(example))
    name = data.draw(st.sampled_from([*fields, "from_the_future"]))
    fields[name] = data.draw(JSON)
    read = decode_event(json.dumps(fields).encode())
    assert read is None or type(read) in get_args(AnyEvent)


@pytest.mark.parametrize(
    "fields",
    [
        '"step":-1', '"step":9007199254740993', f'"step":1{"0" * 400}', f'"step":1{"0" * 5000}', '"step":1.5',
        '"step":true', '"time":-1', '"time":1e18', '"time":1e400', '"time":NaN', '"seq":-5', '"uptime":-1',
        f'"metrics":{{"loss":1{"0" * 5000}}}', '"metrics":{"loss":Infinity}', '"metrics":[]',
        '"metrics":' + json.dumps(dict.fromkeys(map(str, range(2000)), 1)),
    ],
)  # fmt: skip
def test_figures_that_no_run_could_have_make_no_event(fields: str) -> None:
    whole = '{"type":"step_logged","total_steps":9,"epoch":1,"step":1,"metrics":{}'
    assert decode_event((whole + "}").encode()) is not None
    assert decode_event(f"{whole},{fields}}}".encode()) is None


def test_texts_too_long_to_be_read_are_cut_where_they_are_written() -> None:
    long = "x" * 10**6
    said: list[AnyEvent] = [
        events.AlertRaised(kind="k", severity="error", message=long, advice=long, detail=long),
        events.CheckpointFailed(step=1, path="p", error=long),
        events.CommandDone(id="1", command="stop", outcome="rejected", detail=long),
        events.RunEnded(status="failed", step=1, seconds=1, error=long),
    ]
    for event in said:
        line = encode_event(event)
        assert len(line) < 1 << 20
        assert decode_event(line) == event
    alert = said[0]
    assert isinstance(alert, events.AlertRaised)
    assert len(alert.detail) == events.DETAIL_LENGTH


def test_half_characters_are_written_as_question_marks() -> None:
    event = events.CheckpointFailed(step=1, path="out/\udcff", error="e")
    read = decode_event(encode_event(event))
    assert isinstance(read, events.CheckpointFailed)
    assert read.path == "out/?"
