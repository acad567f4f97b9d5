"""The printed run, from its events to its lines."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from kto_tui.core.config import RunConfig
from kto_tui.core.events import (
    AlertRaised,
    AnyEvent,
    CheckpointFailed,
    CheckpointPinned,
    CommandDone,
    Evaluated,
    ReferenceCacheReady,
    RunEnded,
    StageChanged,
    decode_event,
    encode_event,
)
from kto_tui.report.table import TablePrinter
from kto_tui.report.width import display_width
from tests.fakes.events import EVENTS, HOSTILE
from tests.report.recorded import CONFIG, RUN, first_sitting, loading, logged, saved, second_sitting, started

HERE = Path(__file__).parent
WIDTH = 98


def printed(
    events: list[AnyEvent], config: RunConfig = CONFIG, *, unicode: bool = True, color: bool = False
) -> list[str]:
    """The lines of a journal that holds these events."""
    lines: list[str] = []
    table = TablePrinter(config, lines.append, unicode=unicode, color=color)
    for event in events:
        read_back = decode_event(encode_event(event))
        assert read_back is not None
        table.handle(read_back)
    return lines


def framed(lines: list[str]) -> list[str]:
    return [line for line in lines if line and line[0] in "│┌├└|+"]


def in_table(*events: AnyEvent) -> list[str]:
    """The rows that these events add to a table of one step."""
    begun: list[AnyEvent] = [started(0), StageChanged(time=1, stage="training"), logged(2, 5, 0.5, 0.1, 0.0)]
    return printed([*begun, *events])[len(printed(begun)) :]


@pytest.mark.parametrize(("name", "unicode"), [("golden_unicode.txt", True), ("golden_ascii.txt", False)])
def test_two_sittings(name: str, unicode: bool) -> None:
    lines = printed(first_sitting() + second_sitting(), unicode=unicode)
    assert "\n".join(lines) + "\n" == (HERE / name).read_text(encoding="utf-8")


def test_ascii_is_ascii() -> None:
    config = msgspec.structs.replace(CONFIG, output_dir="./Läufe/一")
    events = [*first_sitting(), saved(900, 60, path="./Läufe/一/checkpoint-60"), *second_sitting()]
    assert all(line.isascii() for line in printed(events, config, unicode=False))


def test_colour_changes_nothing_but_colour() -> None:
    plain, coloured = (printed(first_sitting() + second_sitting(), color=color) for color in (False, True))
    assert [re.sub(r"\x1b\[\d*m", "", line) for line in coloured] == plain
    assert coloured != plain


def test_turns_are_coloured() -> None:
    events: list[AnyEvent] = [started(0), logged(1, 5, 0.5, 0.1, 0.0), logged(2, 10, 0.4, 0.0, 0.0)]
    row = printed(events, color=True)[-1]
    assert "\x1b[32m  0.4000  \x1b[0m" in row
    assert "\x1b[31m  0.000 \x1b[0m" in row


@pytest.mark.parametrize(
    "text",
    [
        "",
        "long " * 60,
        "x" * 400,
        "字" * 200,
        "e\u0301" * 150,
        "🎉 " * 80,
        "a\nb\r\n\x1b[2Jc\x1b]0;title\x07",
        "\u202eright to left",
        "\ud800 half",
    ],
)
@pytest.mark.parametrize("unicode", [True, False])
def test_no_text_breaks_the_frame(text: str, unicode: bool) -> None:
    events: list[AnyEvent] = [
        started(0),
        logged(1, 5, 0.5, 0.1, 0.0),
        saved(2, 5, path=text),
        CheckpointFailed(time=3, step=5, path=text, error=text),
        AlertRaised(time=4, kind="k", severity="warning", message=text, advice=text),
        CommandDone(time=5, id="i", command="pause", outcome="rejected", detail=text),
    ]
    lines: list[str] = []
    table = TablePrinter(CONFIG, lines.append, unicode=unicode)
    for event in events:
        table.handle(event)
    rows = framed(lines)
    assert len(rows) >= 6 + 4
    assert {cell_len(row) for row in rows} == {WIDTH}
    assert all(row.isprintable() for row in rows)


@pytest.mark.parametrize("value", [1e30, -1e300, -12345.678, 999.9999, -0.0, None, 123456.0, 1e-12])
def test_no_figure_breaks_the_frame(value: float | None) -> None:
    row = logged(1, 5, value, 0.0, 0.0)
    metrics = dict.fromkeys(row.metrics, value)
    row = msgspec.structs.replace(row, step=10**9, total_steps=10**9, metrics=metrics, eta_seconds=value)
    rows = framed(printed([started(0), row]))
    assert {cell_len(line) for line in rows} == {WIDTH}
    assert "1000000000" in rows[-1]


def test_figures_that_are_missing() -> None:
    event = msgspec.structs.replace(logged(1, 5, 0.5, 0.1, 0.0), metrics={}, eta_seconds=None)
    row = printed([started(0), event])[-1]
    assert row.count("–") == 8


def test_path_gives_way_in_its_middle() -> None:
    (row,) = in_table(saved(3, 50, path="/data/" + "deep/" * 30 + "checkpoint-50"))
    assert row.startswith("│ CHECKPOINT SAVED at step 50 → /data/deep")
    assert "…" in row
    assert row.rstrip(" │").endswith("checkpoint-50 (1.3 GB, 2.1 s)")


def test_alerts_are_wrapped() -> None:
    advice = (
        "Lower the learning rate, and look at the rows that were last seen: they may be broken or too long."
    )
    rows = in_table(
        AlertRaised(time=3, kind="k", severity="error", message="loss rose", advice=advice, step=5)
    )
    assert rows[0].startswith("│ ERROR at step 5: loss rose. Lower the learning rate")
    assert rows[1].startswith("│   ")
    assert len(rows) == 2


def test_a_reference_that_is_not_kept_is_told_so() -> None:
    off = ReferenceCacheReady(path=None, blocks=40, known=0, bytes=0, limit_bytes=0)
    assert printed([started(0), off]) == ["Reference: computed at every step (--reference-cache off)"]


def test_the_reference_of_a_parked_run_is_not_told_again() -> None:
    assert in_table(*[event for event in loading(3) if isinstance(event, ReferenceCacheReady)]) == []


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({"rewards/auc": None, "loss": None}, "loss nan, AUC nan"),
        ({"rewards/chosen": 0.5, "kl": 0.0}, "chosen 0.500, KL 0.000"),
        ({"runtime": 3.0}, "no figures"),
    ],
)
def test_an_evaluation_without_all_its_figures(metrics: dict[str, float | None], text: str) -> None:
    (row,) = in_table(Evaluated(time=3, step=5, metrics=metrics))
    assert row.strip("│ ") == f"EVALUATED at step 5: {text}"


def test_a_late_evaluation_stays_in_one_row() -> None:
    metrics = {"loss": 0.44, "rewards/chosen": -0.65, "rewards/rejected": -0.4, "rewards/margins": -0.25}
    event = Evaluated(time=3, step=120_000, metrics={**metrics, "rewards/auc": 0.4, "kl": 10.25})
    assert len(in_table(event)) == 1


def test_requests_that_were_carried_out_are_not_told_twice() -> None:
    assert in_table(CommandDone(time=3, id="i", command="checkpoint", outcome="done")) == []


def test_paused_then_parked() -> None:
    stages = [StageChanged(time=10, stage="paused"), StageChanged(time=20, stage="parked")]
    rows = in_table(*stages, StageChanged(time=70, stage="loading_model"))
    assert [row.strip("│ ") for row in rows] == [
        "PAUSED at step 5",
        "PARKED at step 5: the device is free until the run is resumed",
        "RESUMED after 1m 00s; the model is loaded again",
    ]


def test_failed_before_training_prints_no_table() -> None:
    ended = RunEnded(
        time=9, status="failed", step=0, seconds=9, error="OutOfMemoryError: no room", exit_code=1
    )
    lines = printed([started(0), *loading(0)[:1], ended])
    assert framed(lines) == []
    assert lines[2:] == [
        "=" * WIDTH,
        "TRAINING FAILED",
        "=" * WIDTH,
        "Total time: 9s    Total steps: 0",
        "Reason: OutOfMemoryError: no room",
        "Log: kto_output_rtx3090/run.log",
        "No checkpoint was saved, so there is nothing to resume from.",
    ]


def test_failed_in_the_first_step_prints_no_empty_table() -> None:
    ended = RunEnded(time=9, status="failed", step=0, seconds=9, error="boom", exit_code=1)
    lines = printed([started(0), StageChanged(time=1, stage="training"), ended])
    assert framed(lines) == []
    assert "TRAINING STARTED" in lines


def test_failed_after_a_checkpoint_says_how_to_resume() -> None:
    config = msgspec.structs.replace(CONFIG, output_dir="my run")
    ended = RunEnded(time=9, status="failed", step=5, seconds=9, error="boom", exit_code=1)
    lines = printed([started(0), logged(1, 5, 0.5, 0.1, 0.0), saved(2, 5), ended], config)
    assert lines[-1] == "Resume with: kto-tui --resume-from-checkpoint latest --output-dir 'my run'"


def test_failed_again_right_after_a_resume_can_still_be_resumed() -> None:
    ended = RunEnded(time=9, status="failed", step=50, seconds=9, error="boom", exit_code=1)
    assert "Resume with" in printed([started(0, f"{RUN}/checkpoint-50"), ended])[-1]
    assert "nothing to resume" in printed([started(0, "elsewhere/checkpoint-50"), ended])[-1]


@pytest.mark.parametrize(
    ("exit_code", "reason"),
    [(0, "stopped on request"), (130, "ended by SIGINT (Ctrl+C)"), (143, "ended by SIGTERM")],
)
def test_why_it_stopped(exit_code: int, reason: str) -> None:
    ended = RunEnded(time=9, status="stopped", step=5, seconds=9, exit_code=exit_code)
    assert f"Reason: {reason}" in printed([started(0), logged(1, 5, 0.5, 0.1, 0.0), ended])


def test_a_wrong_request_is_left_to_whoever_made_it() -> None:
    ended = RunEnded(time=9, status="failed", step=0, seconds=9, error="no such model", exit_code=2)
    assert printed([started(0), ended]) == []


def test_sitting_that_died_is_closed_by_the_next() -> None:
    lines = printed([started(0), logged(1, 5, 0.5, 0.1, 0.0), started(100), *loading(100)])
    died = next(place for place, line in enumerate(lines) if "killed" in line)
    assert lines[died + 1].startswith("└")
    assert lines[died + 2 : died + 4] == ["", "Loading model mistralai/Mistral-7B-Instruct-v0.3 …"]


def test_close_ends_an_open_table_once() -> None:
    lines: list[str] = []
    table = TablePrinter(CONFIG, lines.append)
    table.handle(started(0))
    table.handle(logged(1, 5, 0.5, 0.1, 0.0))
    table.close()
    table.close()
    assert [line[0] for line in lines[-2:]] == ["│", "└"]


def test_a_checkpoint_that_was_asked_for_is_told_as_pinned() -> None:
    asked = saved(3, 50, reason="requested")
    assert "2.1 s, pinned)" in in_table(asked)[0]
    free = msgspec.structs.replace(CONFIG, keep_requested="no")
    assert "2.1 s, requested)" in printed([started(0), asked], free)[-1]
    (row,) = in_table(CheckpointPinned(time=3, step=50, path=f"{RUN}/checkpoint-50"))
    assert row.startswith("│ CHECKPOINT PINNED: ")
    assert row.rstrip(" │").endswith("checkpoint-50 (outlives the rotation)")


def test_of_an_alert_with_details_only_the_message_is_printed() -> None:
    stuck = AlertRaised(
        time=3, kind="worker_stuck", severity="warning", message="no step for 5m 00s", detail="File x\n" * 999
    )
    (row,) = in_table(stuck)
    assert row.strip("│ ") == "WARNING: no step for 5m 00s (details: run.log)"


def test_a_worker_that_is_started_again_goes_on_with_the_table() -> None:
    again: list[AnyEvent] = [
        AlertRaised(time=300, kind="worker_died", severity="warning", message="it died"),
        StageChanged(time=300, stage="restarting"),
        started(310, f"{RUN}/checkpoint-50"),
        *loading(310),
        StageChanged(time=400, stage="training"),
        logged(420, 55, 0.5, 0.1, 0.0),
        RunEnded(time=430, status="completed", step=55, seconds=430),
    ]
    rows = in_table(saved(240, 50), logged(250, 52, 0.4, 0.2, 0.0), *again)
    notes = [row.strip("│ ") for row in rows[2:]]
    assert notes[:3] == [
        "WARNING: it died",
        "RESTARTING: the worker is about to be started again …",
        "RESTARTED from checkpoint-50: steps after it are done again",
    ]
    assert "55/500" in notes[3]
    assert rows[6].startswith("└")
    assert "Average speed: 0.250 steps/sec" in rows[-2]
    assert not [
        row for row in rows if "TRAINING STARTED" in row or "Loading" in row or "without a word" in row
    ]


def test_a_checkpoint_of_a_very_long_name_keeps_the_banner_whole() -> None:
    lines = printed([started(0, "x" * 300), StageChanged(time=1, stage="training")])
    assert cell_len(lines[1]) == WIDTH
    assert lines[1].startswith("TRAINING RESUMED from xxx")


def test_a_worker_that_is_started_again_from_nothing_says_so() -> None:
    rows = in_table(StageChanged(time=300, stage="restarting"), started(310))
    assert rows[-1].strip("│ ") == "RESTARTED from the beginning"


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_a_clock_that_is_set_changes_neither_speed_nor_pauses(jump: float) -> None:
    events: list[AnyEvent] = [
        started(1e7),
        StageChanged(time=1e7, stage="training"),
        logged(1e7 + jump + 10, 10, 0.5, 0.1, 0.0),
        StageChanged(time=1e7 + jump + 20, stage="paused"),
        StageChanged(time=1e7 + 80, stage="training"),
        logged(1e7 + 90, 20, 0.5, 0.1, 0.0),
        RunEnded(time=1e7 + 90, status="completed", step=20, seconds=90),
    ]
    uptimes = [0, 0, 10, 20, 80, 90, 90]
    stamped = [
        msgspec.structs.replace(event, uptime=uptime) for event, uptime in zip(events, uptimes, strict=True)
    ]
    lines = printed(stamped)
    assert any("RESUMED after 1m 00s" in line for line in lines)
    assert "Average speed: 0.667 steps/sec" in lines[-2]


@given(st.lists(EVENTS, max_size=12), st.booleans())
@settings(max_examples=150, deadline=None)
def test_no_event_breaks_the_frame(events: list[AnyEvent], unicode: bool) -> None:
    lines: list[str] = []
    config = msgspec.structs.replace(CONFIG, model=HOSTILE, dataset=HOSTILE, output_dir=f"{HOSTILE}/run")
    table = TablePrinter(config, lines.append, unicode=unicode)
    for event in events:
        table.handle(event)
    table.close()
    controls = [*range(32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    assert not set("".join(lines)) & set(map(chr, controls))
    assert {display_width(row) for row in lines if row[:1] in ("│", "┌", "├", "└", "|", "+", "=")} <= {WIDTH}
