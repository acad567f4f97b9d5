"""Every key, and what becomes of the request it makes."""

from pathlib import Path

import pytest

from kto_tui.ui.screens.confirm import ConfirmScreen
from kto_tui.ui.screens.help import HelpScreen
from tests.ui import fake_run as fake
from tests.ui.driving import Driven, screen_text, stage, trained


@pytest.mark.parametrize(("key", "command"), [("p", "pause"), ("c", "checkpoint"), ("k", "park")])
async def test_a_key_asks_and_the_answer_is_shown(tmp_path: Path, key: str, command: str) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open() as pilot:
        await pilot.press(key)
        await driven.says(pilot, f"{command} asked, waiting for the run")
        assert driven.asked == [command]
        await driven.shows(pilot, f"● RUNNING · {command} asked  mistralai")
        assert "done" not in driven.messages()
        driven.source.tell(fake.answer("id0", command, driven.now + 2, detail="saved checkpoint-231"))
        await driven.says(pilot, f"{command} done: saved checkpoint-231")
        assert "waiting for the run" not in driven.messages()
        await driven.shows(pilot, "● RUNNING  mistralai")


async def test_a_rejected_request_says_why(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open() as pilot:
        await pilot.press("c")
        driven.source.tell(fake.answer("id0", "checkpoint", driven.now, "rejected", "no step was taken yet"))
        await driven.says(pilot, "checkpoint rejected: no step was taken yet")


@pytest.mark.parametrize(("stage_name", "key"), [("paused", "p"), ("parked", "p"), ("parked", "k")])
async def test_the_same_key_resumes(tmp_path: Path, stage_name: str, key: str) -> None:
    driven = Driven(tmp_path, [*trained(tmp_path), stage(stage_name, fake.START + 6000)])
    async with driven.open() as pilot:
        assert stage_name.upper() in driven.text()
        await driven.shows(pilot, f"{key} resume")
        await pilot.press(key)
        assert driven.asked == ["resume"]


async def test_the_footer_follows_what_the_run_says_not_the_key(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open() as pilot:
        await pilot.press("p")
        assert "p pause" in driven.text()
        assert "PAUSED" not in driven.text()
        driven.source.tell(stage("paused", driven.now))
        await driven.shows(pilot, "p resume")
        assert "PAUSED" in driven.text()


async def test_a_pending_request_is_not_made_twice(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open() as pilot:
        await pilot.press("c", "c")
        assert driven.asked == ["checkpoint"]
        await driven.warns(pilot, "asked already")
        driven.source.tell(fake.answer("id0", "checkpoint", driven.now))
        await driven.says(pilot, "checkpoint done")
        await pilot.press("c")
        assert driven.asked == ["checkpoint", "checkpoint"]


@pytest.mark.parametrize(("answer", "asked"), [("y", ["stop"]), ("n", []), ("escape", []), ("enter", [])])
async def test_stop_asks_first(tmp_path: Path, answer: str, asked: list[str]) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open(80, 24) as pilot:
        await pilot.press("s")
        assert isinstance(driven.app.screen, ConfirmScreen)
        assert "save and stop" in driven.text()
        await pilot.press(answer)
        assert driven.asked == asked


async def test_a_request_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    driven.refuse = OSError(28, "No space left on device")
    async with driven.open() as pilot:
        await pilot.press("p")
        await driven.says(pilot, "pause could not be asked: OSError: [Errno 28]")


async def test_a_request_without_an_answer_is_not_left_waiting(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open() as pilot:
        await pilot.press("c")
        driven.source.tell(fake.ended("failed", 230, driven.now + 3, "killed by SIGKILL"))
        await driven.says(pilot, "checkpoint: no answer before the run ended")


async def test_answers_to_other_dashboards_are_shown(tmp_path: Path) -> None:
    driven = Driven(tmp_path, [*trained(tmp_path), fake.answer("other", "checkpoint", fake.START + 6000)])
    async with driven.open() as pilot:
        await driven.says(pilot, "checkpoint done")


@pytest.mark.parametrize("key", ["d", "q", "ctrl+q"])
async def test_leaving_a_live_run_detaches(tmp_path: Path, key: str) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open() as pilot:
        await pilot.press(key)
        await driven.until(pilot, lambda: driven.source.closed)
    assert driven.app.return_value == "detached"
    assert driven.asked == []
    assert driven.app.state.step == 230


@pytest.mark.parametrize("key", ["d", "q"])
async def test_leaving_an_ended_run_says_so(tmp_path: Path, key: str) -> None:
    driven = Driven(
        tmp_path, [*trained(tmp_path), fake.ended("stopped", 230, fake.START + 6000)], alive=False
    )
    async with driven.open() as pilot:
        await driven.shows(pilot, "d quit")
        await pilot.press(key)
    assert driven.app.return_value == "ended"


@pytest.mark.parametrize("key", ["p", "c", "k", "s"])
async def test_steering_a_run_that_has_ended_is_refused_with_the_way_on(tmp_path: Path, key: str) -> None:
    events = [*trained(tmp_path), fake.ended("stopped", 230, fake.START + 6000)]
    driven = Driven(Path("out"), events, alive=False)
    async with driven.open() as pilot:
        await pilot.press(key)
        await driven.warns(pilot, "there is nothing to steer")
        await driven.warns(pilot, "kto-tui --resume-from-checkpoint latest --output-dir out")
        assert driven.asked == []


async def test_help_explains_keys_and_columns(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open() as pilot:
        await pilot.press("question_mark")
        assert isinstance(driven.app.screen, HelpScreen)
        text = driven.text()
        assert "starts at about 0.5" in text
        assert "may stay 0 early" in text
        assert "park" in text
        await pilot.press("escape")
        assert not isinstance(driven.app.screen, HelpScreen)


async def test_the_palette_has_every_key(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open():
        titles = {command.title for command in driven.app.get_system_commands(driven.app.screen)}
        assert {"Help", "Pause", "Checkpoint", "Park", "Stop", "Detach"} <= titles
        assert "Quit" not in titles


async def test_a_command_of_the_palette_asks(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open() as pilot:
        await pilot.press("ctrl+p")
        await pilot.press(*"checkpoint")
        await driven.until(pilot, lambda: "Save a checkpoint now" in screen_text(driven.app))
        await pilot.press("enter", "enter")
        await driven.until(pilot, lambda: driven.asked == ["checkpoint"])


async def test_tab_goes_through_the_panes(tmp_path: Path) -> None:
    driven = Driven(tmp_path, trained(tmp_path))
    async with driven.open() as pilot:
        seen = []
        for _ in range(3):
            focused = driven.app.focused
            seen.append(focused.id if focused else None)
            await pilot.press("tab")
        assert seen == ["metrics", "checkpoints", "notices"]
