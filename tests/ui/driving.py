"""Driving the dashboard without a terminal: a source that is told events, and a clock that is set."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static

from kto_tui.core.commands import Command, CommandName
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import AnyEvent, StageChanged
from kto_tui.ui.app import DashboardApp, Outcome
from tests.ui import fake_run as fake

SECONDS = 10.0
CONFIG = RunConfig(model="mistralai/Mistral-7B-Instruct-v0.3", dataset="train.jsonl")


class Told:
    """A journal in memory."""

    def __init__(self, events: Iterable[AnyEvent] = ()) -> None:
        self._events = list(events)
        self.closed = False

    def tell(self, *events: AnyEvent) -> None:
        self._events = [*self._events, *events]

    def read_events(self) -> list[AnyEvent]:
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        self.closed = True


class Driven:
    """A dashboard under test, with everything around it."""

    def __init__(
        self, path: Path, events: Iterable[AnyEvent], *, alive: bool = True, config: RunConfig | None = CONFIG
    ) -> None:
        self.directory = RunDirectory(path)
        self.source = Told(events)
        self.alive = alive
        self.now = fake.START + 10_000
        self.sent: list[Command] = []
        self.refuse: OSError | None = None
        self.app = DashboardApp(
            self.directory,
            config,
            alive=lambda: self.alive,
            send=self._send if alive else None,
            clock=lambda: self.now,
            source=self.source,
        )

    def _send(self, name: CommandName) -> Command:
        if self.refuse:
            raise self.refuse
        command = Command(id=f"id{len(self.sent)}", command=name, time=self.now)
        self.sent.append(command)
        return command

    @property
    def asked(self) -> list[CommandName]:
        return [command.command for command in self.sent]

    @asynccontextmanager
    async def open(self, width: int = 140, height: int = 45) -> AsyncIterator[Pilot[Outcome]]:
        """The dashboard, once it has shown what the source held."""
        async with self.app.run_test(size=(width, height)) as pilot:
            await self.until(pilot, lambda: "READING" not in self.text())
            yield pilot

    async def until(self, pilot: Pilot[Outcome], done: Callable[[], bool]) -> None:
        """Let the app go on until this is so."""
        await until(pilot, done, self.text)

    async def shows(self, pilot: Pilot[Outcome], text: str) -> None:
        """Let the app go on until this is on the screen."""
        await self.until(pilot, lambda: text in self.text())

    async def says(self, pilot: Pilot[Outcome], text: str) -> None:
        """Let the app go on until this is among the messages, however they are wrapped."""
        await self.until(pilot, lambda: text in self.messages())

    async def warns(self, pilot: Pilot[Outcome], text: str) -> None:
        """Let the app go on until this pops up."""
        await self.until(pilot, lambda: any(text in note.message for note in self.app._notifications))

    def text(self) -> str:
        return screen_text(self.app)

    def messages(self) -> str:
        return str(self.app.screen_stack[0].query_one("#notices-text", Static).content)


async def until(pilot: Pilot[Outcome], done: Callable[[], bool], text: Callable[[], str]) -> None:
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline, f"it never came to that; on the screen:\n{text()}"
        await pilot.pause(0.01)


def screen_text(app: App[Any]) -> str:
    """What is on the screen, without colours."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def stage(name: str, at: float) -> StageChanged:
    return StageChanged(stage=name, time=at)  # type: ignore[arg-type]


def trained(path: Path, until: int = 230) -> list[AnyEvent]:
    """A run from its start to this step of 500."""
    return [*fake.opening(), *fake.training(path, until=until)]
