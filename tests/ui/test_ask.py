"""The question before a start in a directory that holds a run."""

from pathlib import Path

import pytest

from kto_tui.core.directory import RunDirectory
from kto_tui.run.registry import RunSummary
from kto_tui.ui.ask import ExistingRunApp
from tests.ui.driving import screen_text


def summary(*, alive: bool = False, checkpoints: int = 2) -> RunSummary:
    return RunSummary(
        directory=RunDirectory(Path("out [bold]x[/]")),
        status="running" if alive else "stopped",
        step=120,
        total_steps=500,
        margin=0.815,
        checkpoints=checkpoints,
        updated=1_780_000_000.0,
        alive=alive,
    )


@pytest.mark.parametrize("size", [(80, 24), (140, 45), (40, 12)])
async def test_it_says_what_is_there(size: tuple[int, int]) -> None:
    app = ExistingRunApp(summary())
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        text = screen_text(app)
        assert "out [bold]x[/]" in text
        assert "stopped" in text
        assert "step 120 of 500" in text


@pytest.mark.parametrize(
    ("keys", "choice"),
    [("r", "resume"), ("a", "attach"), ("q", "quit"), ("oy", "overwrite"), ("on", None), ("o", None)],
)
async def test_answers(keys: str, choice: str | None) -> None:
    app = ExistingRunApp(summary())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
    assert app.return_value == choice


@pytest.mark.parametrize("keys", ["r", "o", "oy"])
async def test_a_live_run_can_only_be_attached(keys: str) -> None:
    app = ExistingRunApp(summary(alive=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        text = screen_text(app)
        assert "overwrite" not in text
        assert "resume" not in text
    assert app.return_value is None


async def test_no_resume_without_a_checkpoint() -> None:
    app = ExistingRunApp(summary(checkpoints=0))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r")
        await pilot.pause()
        assert "resume" not in screen_text(app)
    assert app.return_value is None
