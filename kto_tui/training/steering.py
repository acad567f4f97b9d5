"""Requests of the user: taken when training can listen, answered once, when they are really done."""

import queue
from collections.abc import Callable
from typing import Literal, Protocol

from kto_tui.core.commands import Command
from kto_tui.core.events import CommandDone, SaveReason, StageChanged
from kto_tui.training.emitter import Emitter

Ending = Literal["stopped", "parked", "abandoned"]
HOLD_SECONDS = 0.25
_ENDINGS: dict[str, Ending] = {"stop": "stopped", "park": "parked"}


class CommandQueue(Protocol):
    """The part of a multiprocessing queue that is used here."""

    def get(self, block: bool = True, timeout: float | None = None, /) -> Command: ...


class SittingEnded(Exception):
    """Unwinds a sitting that ends outside the training loop, before a step was taken."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


class Steering:
    """What was asked of the run and is not answered yet, and whether its supervisor is still there.

    `ending` is set once a request (or a lost supervisor) ends this sitting.
    """

    def __init__(
        self, commands: CommandQueue, emitter: Emitter, supervisor_alive: Callable[[], bool]
    ) -> None:
        self._commands = commands
        self._emitter = emitter
        self._supervisor_alive = supervisor_alive
        self._pending: list[Command] = []
        self._resumed_step = 0
        self.ending: Ending | None = None

    def began_at(self, step: int) -> None:
        """Remember the step that this sitting goes on from; 0 for a fresh run."""
        self._resumed_step = step

    def poll(self) -> None:
        """Take what was asked since the last look. Never waits."""
        while (command := self._next(0)) is not None:
            self._accept(command)
        self._emitter.flush()
        if not self._supervisor_alive():
            self.ending = "abandoned"

    @property
    def reason(self) -> SaveReason | None:
        """Why a checkpoint is asked for at this boundary; None when nobody asks.

        A checkpoint that the user asked for by name outlives the rotation, so that reason goes first.
        """
        asked = {command.command for command in self._pending}
        if any(command.command == "checkpoint" and command.keeps for command in self._pending):
            return "requested"
        if self.ending == "abandoned" or "stop" in asked:
            return "stopped"
        if asked & {"park", "pause"}:
            return "paused"
        return "scheduled" if "checkpoint" in asked else None

    @property
    def wants_to_end(self) -> bool:
        """Whether this sitting is to end at the next boundary."""
        return self.ending is not None or any(c.command in _ENDINGS for c in self._pending)

    @property
    def leaves_now(self) -> bool:
        """Whether not even the step under way is to be finished."""
        return self.ending == "abandoned" or any(c.command == "stop" and c.urgent for c in self._pending)

    @property
    def insists(self) -> bool:
        """Whether this sitting is to end also where its last step cannot be saved."""
        return self.ending == "abandoned" or any(c.command == "stop" and c.insists for c in self._pending)

    def end_before_first_step(self) -> None:
        """Take requests where no step was taken in this sitting. Raises SittingEnded for stop and park."""
        self.poll()
        if self.ending is None:
            leaving = next((c for c in sorted(self._pending, key=_rank) if c.command in _ENDINGS), None)
            if leaving is None:
                return
            self._pending.remove(leaving)
            self._end(leaving, self._nothing_new())
            self.reject_pending("the run is ending")
        assert self.ending is not None
        raise SittingEnded(self.ending)

    def settle(self, checkpoint: str, keep: Callable[[], None]) -> None:
        """Answer what was pending, now that `checkpoint` is on the disk; hold here while paused.

        `keep` makes it outlive the rotation, for who asks for it while it is held; raises OSError.
        """
        paused = False
        for command in sorted(self._take_pending(), key=_rank):
            paused = self._answer(command, checkpoint, paused, keep)
        if paused:
            self._hold(checkpoint, keep)

    def reject_pending(self, why: str) -> None:
        """Turn down what was pending."""
        for command in self._take_pending():
            self._reply(command, "rejected", why)

    def close(self, last_checkpoint: str | None, keep: Callable[[], None]) -> None:
        """Answer a late request for a checkpoint; `keep` as for `settle`. The supervisor sees to the rest."""
        while (command := self._next(0)) is not None:
            self._pending.append(command)
        for command in self._take_pending():
            if command.command == "checkpoint" and last_checkpoint:
                self._answer_late(command, keep, last_checkpoint)

    def _answer_late(self, command: Command, keep: Callable[[], None], checkpoint: str) -> None:
        if command.keeps:
            self._keep(command, keep, checkpoint)
        else:
            self._reply(command, "done", checkpoint)

    def _accept(self, command: Command) -> None:
        pausing = any(c.command == "pause" for c in self._pending)
        if command.command == "resume" and not pausing:
            self._reply(command, "rejected", "not paused")
        else:
            self._pending.append(command)

    def _answer(self, command: Command, checkpoint: str, paused: bool, keep: Callable[[], None]) -> bool:
        """Answer one request at a boundary whose checkpoint is saved. Returns whether the run holds."""
        if self.ending in ("stopped", "parked"):
            self._reply(command, "rejected", "the run is ending")
        elif command.command in _ENDINGS:
            self._end(command, checkpoint)
            return False
        elif command.command == "pause" and paused:
            self._reply(command, "rejected", "already paused")
        elif command.command == "pause":
            self._emitter.emit(StageChanged(stage="paused"))
            self._reply(command, "done", checkpoint)
            return True
        elif command.command == "resume":
            self._emitter.emit(StageChanged(stage="training"))
            self._reply(command, "done", "")
            return False
        elif command.keeps:
            self._keep(command, keep, checkpoint)
        else:
            self._reply(command, "done", checkpoint)
        return paused

    def _keep(self, command: Command, keep: Callable[[], None], detail: str) -> None:
        try:
            keep()
        except OSError as error:
            self._reply(command, "rejected", f"the checkpoint is there, but not marked to stay: {error}")
        else:
            self._reply(command, "done", detail)

    def _hold(self, checkpoint: str, keep: Callable[[], None]) -> None:
        step = checkpoint.rpartition("-")[2]
        paused = True
        while paused and self.ending is None:
            command = self._next(HOLD_SECONDS)
            self._emitter.flush()
            if command is not None and command.command == "checkpoint" and command.keeps:
                self._keep(command, keep, f"already saved at step {step}")
            elif command is not None:
                paused = self._answer(command, checkpoint, paused, keep)
            if not self._supervisor_alive():
                self.ending = "abandoned"

    def _end(self, command: Command, detail: str) -> None:
        self.ending = _ENDINGS[command.command]
        if self.ending == "parked":
            self._emitter.emit(StageChanged(stage="parked"))
        self._reply(command, "done", detail)

    def _nothing_new(self) -> str:
        if self._resumed_step:
            return f"no step was taken since step {self._resumed_step}, so there is nothing new to save"
        return "no step was taken yet, so there is no checkpoint"

    def _take_pending(self) -> list[Command]:
        pending, self._pending = self._pending, []
        return pending

    def _reply(self, command: Command, outcome: Literal["done", "rejected"], detail: str) -> None:
        done = CommandDone(id=command.id, command=command.command, outcome=outcome, detail=detail)
        self._emitter.emit(done)

    def _next(self, seconds: float) -> Command | None:
        try:
            return self._commands.get(seconds > 0, seconds or None)
        except queue.Empty:
            return None


def _rank(command: Command) -> int:
    """What is answered first at a boundary: checkpoints, then a stop, which nothing else outdoes."""
    return {"checkpoint": 0, "stop": 1}.get(command.command, 2)
