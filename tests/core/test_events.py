"""Events and commands as lines of JSON."""

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest

from kto_tui.core import events
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
    events.ReferenceCacheReady(path="/c", blocks=40, known=12, bytes=1_200_000, limit_bytes=10**9),
    StepLogged(step=5, total_steps=9, epoch=0.5, metrics={"loss": 0.5, "kl": None}, eta_seconds=1.5),
    events.Evaluated(step=5, metrics={"loss": 0.4}),
    events.CheckpointSaved(step=5, path="p", bytes=7, seconds=0.1, reason="scheduled"),
    events.CheckpointDeleted(step=5, path="p"),
    events.CheckpointFailed(step=5, path="p", error="disk full"),
    GpuSampled(devices=(Device(index=0, name="g", memory_used_bytes=1, memory_total_bytes=2, power_w=9.5),)),
    events.AlertRaised(kind="k", severity="warning", message="m", advice="a", step=5),
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
    assert json.loads(encode_event(EXAMPLES[11]))["type"] == "gpu_sampled"


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
