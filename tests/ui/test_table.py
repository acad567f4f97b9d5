"""The metrics table: what it says, how it scrolls, and that long runs cost no more than short ones."""

import re
from pathlib import Path

import pytest

from kto_tui.core.events import AnyEvent, StepLogged
from kto_tui.ui.widgets.metrics_table import MetricsTable
from tests.ui import fake_run as fake
from tests.ui.driving import Driven, trained

TITLES = ["Step", "Loss", "LR", "Chosen", "Reject", "Margin", "KL", "GPU Mem", "Samp/sec", "ETA"]


def row(step: int, loss: float, margin: float, total: int = 500) -> StepLogged:
    return StepLogged(
        time=fake.START + step,
        step=step,
        total_steps=total,
        epoch=0.1,
        metrics={
            "loss": loss,
            "learning_rate": 4.5e-7,
            "rewards/chosen": 0.541,
            "rewards/rejected": -0.274,
            "rewards/margins": margin,
            "kl": 0.0,
            "samples_per_second": 1.31,
            "gpu_memory_bytes": 21.4 * fake.GIB,
        },
        eta_seconds=11_160.0,
    )


def table_of(driven: Driven) -> MetricsTable:
    return driven.app.screen.query_one(MetricsTable)


def line_with(driven: Driven, text: str) -> str:
    return next(line for line in driven.text().splitlines() if text in line)


@pytest.mark.parametrize("size", [(80, 24), (140, 45)])
async def test_all_columns_with_their_formats(tmp_path: Path, size: tuple[int, int]) -> None:
    driven = Driven(tmp_path, [*fake.opening(), row(45, 0.46213, 0.815)])
    async with driven.open(*size) as pilot:
        await driven.shows(pilot, "45/500 0.4621")
        head = line_with(driven, " Loss ")
        assert [title for title in TITLES if title in head] == TITLES
        figures = "45/500 0.4621 4.50e-07 0.541 -0.274 0.815 0.000 21.4GB 1.3 3h 06m"
        assert figures in " ".join(line_with(driven, "45/500 0.4621").split())


async def test_turns_are_marked_without_colour(tmp_path: Path) -> None:
    events: list[AnyEvent] = [
        row(5, 0.50, 0.10),
        row(10, 0.45, 0.20),
        row(15, 0.48, 0.15),
        row(20, 0.48, 0.15),
    ]
    driven = Driven(tmp_path, [*fake.opening(), *events])
    async with driven.open():
        signs = {step: re.findall("[▲▼]", line_with(driven, f" {step}/500 ")) for step in (5, 10, 15, 20)}
    assert signs == {5: [], 10: ["▼", "▲"], 15: ["▲", "▼"], 20: []}


async def test_good_and_bad_turns_differ_in_style(tmp_path: Path) -> None:
    driven = Driven(tmp_path, [*fake.opening(), row(5, 0.5, 0.1), row(10, 0.45, 0.2), row(15, 0.48, 0.15)])
    async with driven.open():
        table = table_of(driven)
        better, worse = (
            next(part.style for part in table.render_line(y) if text in part.text)
            for y, text in ((2, "0.4500"), (3, "0.4800"))
        )
        assert better is not None
        assert worse is not None
        assert better.color != worse.color
        assert worse.bold


async def test_narrow_screens_drop_the_least_worth_and_say_so(tmp_path: Path) -> None:
    driven = Driven(tmp_path, [*fake.opening(), row(45, 0.4621, 0.815)])
    async with driven.open(60, 24):
        head = line_with(driven, "Step ")
        assert "KL" not in head
        assert "Margin" in head
        assert "no room for KL" in driven.text()


async def test_null_is_nan_and_a_missing_metric_a_dash(tmp_path: Path) -> None:
    event = StepLogged(step=5, total_steps=10, epoch=0.1, metrics={"loss": None}, eta_seconds=None)
    driven = Driven(tmp_path, [*fake.opening(), event])
    async with driven.open() as pilot:
        await driven.shows(pilot, " nan ")
        figures = line_with(driven, " nan ").split("5/10")[1].split()
    assert figures[:9] == ["nan", *"–" * 8]


async def test_the_newest_row_stays_in_view(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open(80, 24) as pilot:
        await driven.shows(pilot, "230/500")
        driven.source.tell(row(235, 0.3, 1.0))
        await driven.shows(pilot, "235/500 0.3")
        await pilot.resize_terminal(80, 40)
        await driven.shows(pilot, "235/500 0.3")
        await pilot.resize_terminal(80, 22)
        await driven.shows(pilot, "235/500 0.3")
        assert "Step" in driven.text()


async def test_scrolled_up_rows_stay_put_and_end_goes_back(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open(80, 24) as pilot:
        await pilot.press("home")
        await driven.shows(pilot, "  5/500")
        driven.source.tell(row(235, 0.3, 1.0))
        await driven.until(pilot, lambda: len(table_of(driven).rows) == 47)
        await driven.shows(pilot, "newer below: press end")
        assert "  5/500" in driven.text()
        assert "235/500 0.3" not in driven.text()
        await pilot.press("end")
        await driven.shows(pilot, "235/500 0.3")
        assert "newer below" not in driven.text()
        driven.source.tell(row(240, 0.3, 1.0))
        await driven.shows(pilot, "240/500 0.3")


@pytest.mark.parametrize(("key", "moved"), [("up", 1), ("pageup", 8)])
async def test_keys_scroll(tmp_path: Path, key: str, moved: int) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open(80, 24) as pilot:
        table = table_of(driven)
        await driven.shows(pilot, "230/500 0.3057")
        await driven.until(pilot, lambda: table.scroll_y == table.max_scroll_y)
        await pilot.press(key)
        await driven.until(pilot, lambda: table.lines_below == moved)
        assert not table.following
        await pilot.press("down", "pagedown", "pagedown")
        await driven.until(pilot, lambda: table.following)


async def test_a_resumed_run_is_marked_in_the_table(tmp_path: Path) -> None:
    again = fake.opening(fake.START + 9000)[0]
    resumed = type(again)(
        **{**{f: getattr(again, f) for f in again.__struct_fields__}, "resumed_from": "checkpoint-200"}
    )
    driven = Driven(
        tmp_path,
        [*trained(tmp_path), fake.ended("stopped", 230, fake.START + 8000), resumed, row(205, 0.3, 1)],
    )
    async with driven.open() as pilot:
        await driven.shows(pilot, "── resumed from checkpoint-200 ──")


async def test_a_hundred_thousand_rows_are_all_there(tmp_path: Path) -> None:
    events = [*fake.opening(), *(row(step, 0.4, 0.5, 100_000) for step in range(1, 100_001))]
    driven = Driven(tmp_path, ())
    driven.source.tell(*events)
    async with driven.app.run_test(size=(140, 45)) as pilot:
        await driven.shows(pilot, "100000/100000")
        await pilot.press("home")
        await driven.shows(pilot, "     1/100000")
