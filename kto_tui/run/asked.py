"""Requests that a run was asked for and has not answered yet."""

from collections.abc import Callable
from typing import Literal

from kto_tui.core.commands import Command
from kto_tui.core.events import CommandDone

Outcome = Literal["done", "rejected"]


class Asked:
    """Keeps requests until they are answered, by the worker or here. `tell` is given the answers from here.

    `waking` is a resume of a parked run, which is answered once another worker trains.
    """

    def __init__(self, tell: Callable[[CommandDone], None]) -> None:
        self._tell = tell
        self._open: dict[str, Command] = {}
        self._waking: Command | None = None

    @property
    def all(self) -> list[Command]:
        """What the worker is to answer, oldest first."""
        return list(self._open.values())

    def to_leave(self) -> Command | None:
        """A stop that was asked for, else a park."""
        asked = [command for command in self.all if command.command in ("stop", "park")]
        return min(asked, key=lambda command: command.command != "stop", default=None)

    def to_stop(self) -> bool:
        return any(command.command == "stop" for command in self.all)

    def note(self, command: Command) -> None:
        """The worker is to answer this one."""
        self._open[command.id] = command

    def forget(self, command_id: str) -> None:
        """The worker has answered this one."""
        self._open.pop(command_id, None)

    def answer(self, command: Command, outcome: Outcome, detail: str) -> None:
        self._open.pop(command.id, None)
        self._tell(CommandDone(id=command.id, command=command.command, outcome=outcome, detail=detail))

    def wake(self, command: Command) -> None:
        """This one is answered once the run trains again."""
        self._open.pop(command.id, None)
        self._waking = command

    def answer_waking(self, outcome: Outcome, detail: str) -> None:
        """Answer the resume that is under way, if one is."""
        if self._waking is not None:
            command, self._waking = self._waking, None
            self.answer(command, outcome, detail)

    def reject_all(self, waking: str, others: str) -> None:
        """Turn down what is open, for these reasons."""
        self.answer_waking("rejected", waking)
        for command in self.all:
            self.answer(command, "rejected", others)
