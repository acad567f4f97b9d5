"""The checks themselves: each one finds what it is there to find. No run is started."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import (
    AnyEvent,
    CheckpointDeleted,
    CheckpointSaved,
    RunEnded,
    RunStarted,
    SaveReason,
    StageChanged,
    StepLogged,
)
from kto_tui.core.manifest import Manifest, describe, write_manifest
from tests.faults.harness import Broken
from tests.faults.invariants import (
    check_checkpoints,
    check_ending,
    check_journal,
    check_rotation,
    check_steps,
    check_weights,
    redone_steps,
)
from tests.faults.lab import Injection
from tests.faults.matrix import Played, format_matrix, kills
from tests.faults.playing import plan
from tests.faults.scenarios import SCENARIOS


def checkpoint(folder: Path, step: int, reason: SaveReason = "scheduled") -> CheckpointSaved:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    save_file({"w": np.full(8, step, dtype=np.float32)}, path / "adapter_model.safetensors")
    write_manifest(path, Manifest(step=step, reason=reason, time=float(step), files=describe(path)))
    return CheckpointSaved(step=step, path=str(path), bytes=1, seconds=0.1, reason=reason)


def steps(*numbers: int) -> list[AnyEvent]:
    return [StepLogged(step=number, total_steps=40, epoch=0.0, metrics={}) for number in numbers]


LOADING = StageChanged(stage="loading_model")
RESUMED = RunStarted(run_id="a", versions={}, host="h", devices=())


def check(folder: Path, events: Sequence[AnyEvent], *, mid_rotation: bool = False) -> None:
    check_checkpoints(RunDirectory(folder), events, 2, mid_rotation=mid_rotation)


def test_whole_checkpoints_pass(tmp_path: Path) -> None:
    check(tmp_path, [checkpoint(tmp_path, 5), checkpoint(tmp_path, 10)])


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    saved = checkpoint(tmp_path, 5)
    path = tmp_path / "checkpoint-5" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Broken, match="checkpoint-5 was announced"):
        check(tmp_path, [saved])


def test_tensors_that_cannot_be_opened_are_found(tmp_path: Path) -> None:
    """Also where the manifest was made of what is broken."""
    saved = checkpoint(tmp_path, 5)
    folder = tmp_path / "checkpoint-5"
    (folder / "adapter_model.safetensors").write_bytes(b"\xff" * 64)
    write_manifest(folder, Manifest(step=5, reason="scheduled", time=5.0, files=describe(folder)))
    with pytest.raises(Broken, match="cannot be opened"):
        check(tmp_path, [saved])


def test_one_that_is_gone_is_found_unless_it_was_due(tmp_path: Path) -> None:
    saved = [checkpoint(tmp_path, step) for step in (10, 15)]
    gone = CheckpointSaved(
        step=5, path=str(tmp_path / "checkpoint-5"), bytes=1, seconds=0.1, reason="scheduled"
    )
    check(tmp_path, [gone, *saved], mid_rotation=True)
    check(tmp_path, [gone, *saved, CheckpointDeleted(step=5, path=gone.path)])
    with pytest.raises(Broken, match="checkpoint-5"):
        check(tmp_path, [gone, *saved])
    with pytest.raises(Broken, match="checkpoint-5"):
        check(tmp_path, [*saved, gone], mid_rotation=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"seq":1}\n{"seq":1}\n', "seq 1 follows 1"),
        ('{"seq":1}\n{"se\n{"seq":2}\n', "1 torn"),
        ('{"seq":1}\n{"seq":2', "1 torn"),
    ],
)
def test_a_journal_that_is_not_whole_is_found(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(text)
    with pytest.raises(Broken, match=says):
        check_journal(path)


def test_a_torn_line_may_be_allowed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps({"seq": 1}) + '\n{"se\n' + json.dumps({"seq": 2}) + "\n")
    check_journal(path, torn_lines=1)


def test_steps_done_again_are_counted_for_each_worker() -> None:
    again = [LOADING, *steps(1, 2, 3), RESUMED, LOADING, *steps(2, 3, 4), LOADING, *steps(5, 6)]
    assert redone_steps(again) == [2, 0]
    check_steps(again, redone=2)
    with pytest.raises(Broken, match="2 steps were done again"):
        check_steps(again, redone=1)


@pytest.mark.parametrize("numbers", [(1, 2, 4), (1, 2, 2)])
def test_steps_out_of_order_are_found(numbers: tuple[int, ...]) -> None:
    with pytest.raises(Broken, match="follows step 2"):
        redone_steps([LOADING, *steps(*numbers)])


def test_an_end_that_is_none_is_found() -> None:
    done = RunEnded(status="completed", step=40, seconds=1.0)
    check_ending([done], 40)
    failed = RunEnded(status="failed", step=40, seconds=1.0)
    wrong: list[list[AnyEvent]] = [[done, LOADING], [failed]]
    for events in wrong:
        with pytest.raises(Broken):
            check_ending(events, 40)
    with pytest.raises(Broken, match="of 41"):
        check_ending([done], 41)


def test_rotation_is_counted_without_what_was_asked_for(tmp_path: Path) -> None:
    for step in (5, 10):
        checkpoint(tmp_path, step)
    checkpoint(tmp_path, 12, "requested")
    check_rotation(RunDirectory(tmp_path), 2, 2)
    for limit in (1, 3):
        with pytest.raises(Broken, match="checkpoint-5, checkpoint-10"):
            check_rotation(RunDirectory(tmp_path), limit, limit)


def test_other_weights_are_found(tmp_path: Path) -> None:
    final = tmp_path / "final_model"
    with pytest.raises(Broken, match="without a final_model"):
        check_weights(RunDirectory(tmp_path), b"same")
    final.mkdir()
    (final / "adapter_model.safetensors").write_bytes(b"same")
    check_weights(RunDirectory(tmp_path), b"same")
    with pytest.raises(Broken, match="differ"):
        check_weights(RunDirectory(tmp_path), b"other")


def test_the_matrix_counts_by_fault() -> None:
    plays = [
        Played("a", 1, [Injection("SIGKILL", True, 4.0), Injection("SIGKILL", True, 8.0)], 3, 9.0),
        Played("b", 2, [Injection("SIGKILL"), Injection("full disk", True)], 5, 9.0, problem="lost"),
    ]
    head, *rows = [line.split() for line in format_matrix(plays).splitlines()]
    assert head[0] == "FAULT"
    assert kills(plays) == 3
    assert rows == [
        ["SIGKILL", "3", "2", "5", "6.0", "s"],
        ["full", "disk", "1", "1", "5", "–"],
        ["all", "4", "3", "5", "6.0", "s"],
    ]


def test_the_long_form_has_the_kills_that_are_asked_for() -> None:
    planned = plan(SCENARIOS, 200)
    assert sum(scenario.kills for scenario in planned) >= 200
    assert {scenario.name for scenario in planned} == {scenario.name for scenario in SCENARIOS}
    assert len(plan(SCENARIOS, 0)) == len(SCENARIOS)
