"""What `kto-tui runs` and `kto-tui plan` print."""

from pathlib import Path

import msgspec
import pytest

from kto_tui.core.config import START_ONLY, settings
from kto_tui.core.counts import Counts
from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import MOST
from kto_tui.report.memory_plan import MemoryReport
from kto_tui.report.plan import format_plan
from kto_tui.report.runs import format_runs
from kto_tui.run.registry import RunSummary
from kto_tui.sizing.devices import Device
from kto_tui.sizing.fitting import Advice
from kto_tui.sizing.lengths import Lengths
from kto_tui.sizing.memory import estimate
from kto_tui.sizing.shape import ModelShape
from tests.report.recorded import CONFIG
from tests.sizing.presets import PRESETS

NOW = 1_000_000.0
SUMMARIES = [
    RunSummary(RunDirectory(Path("kto_output")), "running", 45, 500, 0.815, 1, NOW - 70, alive=True),
    RunSummary(RunDirectory(Path("a/Läufe")), "failed", 0, None, None, 0, None, alive=False),
]


def test_runs() -> None:
    assert format_runs(SUMMARIES, NOW, unicode=True) == (
        "DIRECTORY   STATE      STEP  MARGIN  CHECKPOINTS   LAST NEWS\n"
        "kto_output  running  45/500   0.815            1  1m 10s ago\n"
        "a/Läufe     failed        0       –            0           –\n"
    )


def test_runs_in_ascii() -> None:
    text = format_runs(SUMMARIES, NOW, unicode=False)
    assert text.isascii()
    assert r"a/L\xe4ufe" in text


def test_no_run_of_a_hostile_journal_forges_the_list() -> None:
    name = "run\x1b[2J\n[red]x[/] \u202eforged"
    summary = RunSummary(RunDirectory(Path(name)), "died", MOST, MOST, -1e308, 9, 1e12, False)
    lines = format_runs([*SUMMARIES, summary], NOW, unicode=True).splitlines()
    assert len(lines) == 4
    assert lines[3].startswith("run [red]x[/] forged  died ")
    assert "-1.00e+308" in lines[3]
    assert all(line.isprintable() and len(line) < 110 for line in lines)


def test_long_directories_are_cut_in_their_middle() -> None:
    summary = RunSummary(
        RunDirectory(Path("/data/" + "deep/" * 30 + "run")), "died", 1, 2, 0.0, 0, NOW, False
    )
    line = format_runs([summary], NOW, unicode=True).splitlines()[1]
    assert line.startswith("/data/deep")
    assert "…" in line
    assert "/run  died" in line


def plan(**changes: object) -> str:
    return format_plan(msgspec.structs.replace(CONFIG, **changes), Counts(170, 150), None)


def values(text: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def test_plan_names_every_setting() -> None:
    shown = values(plan())
    assert set(settings()) - START_ONLY <= set(shown)
    assert not START_ONLY & set(shown)
    assert (shown["learning_rate"], shown["max_steps"], shown["wandb"]) == ("5e-07", "-", "false")


def test_plan_is_aligned() -> None:
    lines = [line for line in plan().splitlines() if line.startswith("  ")]
    starts = {len(line) - len(line.split(":", 1)[1].lstrip()) for line in lines}
    assert len(starts) == 1


def test_plan_counts_rows_and_steps() -> None:
    shown = values(plan())
    assert shown["training"] == "320 (170 desirable, 150 undesirable)"
    assert "evaluation" not in shown
    assert shown["effective batch"] == "32 rows (8 x 4)"
    assert (shown["steps per epoch"], shown["total steps"]) == ("10", "10 (1 epochs)")


def test_plan_with_evaluation() -> None:
    text = format_plan(CONFIG, Counts(1, 1), Counts(1000, 500))
    assert values(text)["evaluation"] == "1,500 (1,000 desirable, 500 undesirable)"


def test_plan_with_a_part_held_out() -> None:
    shown = values(plan(eval_fraction=0.1))
    assert shown["evaluation"] == "10% of the rows, about 32"
    assert shown["training"] == "about 288 of 320 (170 desirable, 150 undesirable)"
    assert (shown["steps per epoch"], shown["total steps"]) == ("about 9", "about 9 (1 epochs)")
    assert values(plan(eval_fraction=0.1, max_steps=18))["total steps"] == "18 (about 2 epochs)"
    assert values(plan(eval_fraction=0.125))["evaluation"] == "12.5% of the rows, about 40"


def test_short_batches_count_as_steps() -> None:
    shown = values(plan(batch_size=6, gradient_accumulation_steps=4, num_epochs=2.5))
    assert (shown["steps per epoch"], shown["total steps"]) == ("14", "35 (2.5 epochs)")


def test_max_steps_win() -> None:
    assert values(plan(max_steps=25, num_epochs=9))["total steps"] == "25 (2.5 epochs)"


def memory(available: int, **changes: object) -> MemoryReport:
    config = msgspec.structs.replace(CONFIG, **changes)
    shape = ModelShape.from_config(PRESETS["7b"][0])
    room = Device("GPU \x1b[2J of mine", "cuda", available, available)
    plan = estimate(shape, config, Lengths.at_most(1024), "cuda", checkpointing=True)
    return MemoryReport(
        plan=plan,
        device=room,
        largest_batch=None,
        largest_length=3328,
        advice=[Advice("--max-length 512", 3 << 30, enough=False)],
        notes=["a note " + "of many words " * 12],
    )


def test_plan_with_memory() -> None:
    text = format_plan(CONFIG, Counts(170, 150), None, memory(24 << 30))
    lines = text.partition("\nMemory\n")[2].splitlines()
    assert max(map(len, lines)) <= 80
    assert "FITS" in text
    assert "\x1b" not in text
    figures = [line[26:].split()[0] for line in lines[1 : lines.index("") - 2]]
    total = next(line.split()[1] for line in lines if line.startswith("  total"))
    assert sum(map(float, figures)) == pytest.approx(float(total), abs=0.005 * len(figures))
    assert "3,328 tokens" in text
    assert "largest micro-batch:  none" in text


def test_plan_of_what_does_not_fit_and_of_nothing() -> None:
    text = format_plan(CONFIG, Counts(170, 150), None, memory(2 << 30))
    assert "DOES NOT FIT: the weights alone take" in text
    assert "several of these, or a smaller model" in text
    assert "too much" in format_plan(CONFIG, Counts(170, 150), None, memory(5 << 30))
    assert "Memory\n  none: no\n" in format_plan(CONFIG, Counts(170, 150), None, "no")
