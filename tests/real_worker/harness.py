"""Real sittings in this process: the worker's session between two plain queues, no supervisor."""

import functools
import gc
import json
import queue
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kto_tui.core.commands import Command, CommandName, new_command
from kto_tui.core.config import TINY_MODEL, RunConfig
from kto_tui.core.events import CommandDone, Event, StepLogged
from kto_tui.training.session import run

EventT = TypeVar("EventT", bound=Event)
OnEvent = Callable[[Event, "Sitting"], None]


class Events(queue.Queue[Event]):
    """A plain queue with the closing calls of a multiprocessing queue; tells a listener of each event."""

    def __init__(self, listener: Callable[[Event], None]) -> None:
        super().__init__()
        self._listener = listener

    def put_nowait(self, item: Event) -> None:
        super().put_nowait(item)
        self._listener(item)

    def close(self) -> None: ...
    def join_thread(self) -> None: ...
    def cancel_join_thread(self) -> None: ...


@dataclass
class Sitting:
    """One run of the session: what it said, and the means to steer it while it goes on."""

    config: RunConfig
    events: list[Event]
    commands: "queue.Queue[Command]"
    alive: bool = True
    exit_code: int = -1

    def ask(self, name: CommandName) -> str:
        command = new_command(name)
        self.commands.put(command)
        return command.id

    def of(self, kind: type[EventT]) -> list[EventT]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def output(self) -> Path:
        assert self.config.output_dir is not None
        return Path(self.config.output_dir)

    @property
    def replies(self) -> list[tuple[str, str, str]]:
        return [(done.command, done.outcome, done.detail) for done in self.of(CommandDone)]

    @property
    def checkpoints(self) -> set[str]:
        return {path.name for path in self.output.glob("checkpoint-*")}

    def adapter(self, folder: str) -> bytes:
        return (self.output / folder / "adapter_model.safetensors").read_bytes()


def write_rows(path: Path, count: int) -> str:
    """`count` checkable sums as text, right and wrong in turn."""
    rows = (
        {
            "prompt": f"What is {n} plus {n + 1}? ",
            "completion": f"It is {2 * n + 1 if n % 2 else 90 + n}." + " Yes." * (n % 3),
            "label": bool(n % 2),
        }
        for n in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def tiny(folder: Path, **changes: Any) -> RunConfig:
    """A short run of the built-in model in `folder`/out: 22 rows, 4 a step, so 6 steps an epoch."""
    output = folder / "out"
    output.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "model": TINY_MODEL,
        "dataset": str(folder / "rows.jsonl"),
        "output_dir": str(output),
        "max_steps": 4,
        "batch_size": 4,
        "lora_rank": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "max_length": 96,
    }
    if not Path(settings["dataset"]).exists():
        write_rows(Path(settings["dataset"]), 22)
    return msgspec.convert({**settings, **changes}, RunConfig)


def sit(config: RunConfig, on_event: OnEvent | None = None, ask_first: Iterable[CommandName] = ()) -> Sitting:
    """Carry out one sitting. `on_event` is called inside it, and may ask things of it."""
    sitting = Sitting(config, [], queue.Queue())

    def listen(event: Event) -> None:
        sitting.events.append(event)
        if on_event is not None:
            on_event(event, sitting)

    for name in ask_first:
        sitting.ask(name)
    _set_imports_aside()
    sitting.exit_code = run(config, Events(listen), sitting.commands, lambda: sitting.alive)
    return sitting


@functools.cache
def _set_imports_aside() -> None:
    """accelerate collects garbage after each training, for half a second over what imports have left."""
    import kto_tui.training.work  # noqa: F401

    gc.collect()
    gc.freeze()


def at_step(step: int, *names: CommandName) -> OnEvent:
    """Ask these when `step` is logged: they are answered at the next boundary."""

    def listen(event: Event, sitting: Sitting) -> None:
        if isinstance(event, StepLogged) and event.step == step:
            for name in names:
                sitting.ask(name)

    return listen


def after_reply(command: str, *names: CommandName) -> OnEvent:
    """Ask these when `command` is answered for the first time."""
    waiting = [names]

    def listen(event: Event, sitting: Sitting) -> None:
        if isinstance(event, CommandDone) and event.command == command and waiting:
            for name in waiting.pop():
                sitting.ask(name)

    return listen


def both(*listeners: OnEvent) -> OnEvent:
    def listen(event: Event, sitting: Sitting) -> None:
        for listener in listeners:
            listener(event, sitting)

    return listen
