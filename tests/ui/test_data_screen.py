"""The data report on the dashboard."""

from pathlib import Path

import pytest

from kto_tui.core.datareport import Finding
from kto_tui.core.events import DataReported
from kto_tui.ui.screens.data import DataScreen
from tests.report.test_data_report import REPORT
from tests.ui import fake_run as fake
from tests.ui.driving import Driven, screen_text, trained


def reported() -> DataReported:
    return DataReported(time=fake.START + 1, split="train", report=REPORT)


@pytest.mark.parametrize(("width", "height"), [(140, 45), (80, 24)])
async def test_a_key_opens_and_closes_it(tmp_path: Path, width: int, height: int) -> None:
    driven = Driven(tmp_path, [*trained(tmp_path), reported()])
    async with driven.open(width, height) as pilot:
        await driven.shows(pilot, "i data")
        await pilot.press("i")
        assert isinstance(driven.app.screen, DataScreen)
        await pilot.pause()
        text = screen_text(driven.app)
        for words in (
            "Training data: 100 rows",
            "60 desirable, 40 undesirable",
            "not read: context",
            "≤ 512 ███",
        ):
            assert words in text, text
        await pilot.press("end")
        await pilot.pause()
        assert "WARNING repeats: 3 of 110 rows" in screen_text(driven.app)
        await pilot.press("escape")
        assert not isinstance(driven.app.screen, DataScreen)


async def test_before_there_is_one_there_is_no_key(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open() as pilot:
        await pilot.press("i")
        assert not isinstance(driven.app.screen, DataScreen)
        assert "i data" not in driven.text()
        driven.source.tell(reported())
        await driven.shows(pilot, "i data")


async def test_texts_from_the_data_are_no_markup(tmp_path: Path) -> None:
    finding = Finding(
        kind="x", severity="error", message="[bold]a[/] \x1b[31mred", examples=("[b]row[/b] 1",)
    )
    event = DataReported(time=fake.START, split="eval", report=type(REPORT)(findings=(finding,)))
    driven = Driven(tmp_path, [*trained(tmp_path), event])
    async with driven.open() as pilot:
        await pilot.press("i")
        await pilot.pause()
        text = screen_text(driven.app)
        assert "ERROR [bold]a[/] red" in text
        assert "· [b]row[/b] 1" in text
