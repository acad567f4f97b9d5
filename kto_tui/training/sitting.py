"""What the parts of one sitting share. Torch-free, so that it exists before torch is imported."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import Progress, Stage
from kto_tui.training.checkpoints import CheckpointStore
from kto_tui.training.emitter import Emitter
from kto_tui.training.speed import Speedometer
from kto_tui.training.steering import Steering

PROGRESS_SECONDS = 0.25
STEP_SECONDS = 1.0


@dataclass
class Sitting:
    """One process's work on a run: its settings, its folder, its way out (events) and in (commands).

    `step` is the newest optimizer step, for the report at the end; `identity` names the rows and the base
    (training/identity.py), once they are known, and `resolved` what `auto` came to; `has_trained`: whether
    there may be something to save.
    """

    config: RunConfig
    directory: RunDirectory
    emitter: Emitter
    steering: Steering
    store: CheckpointStore
    speedometer: Speedometer = field(default_factory=Speedometer)
    step: int = 0
    identity: dict[str, str | None] = field(default_factory=dict)
    resolved: dict[str, Any] = field(default_factory=dict)
    has_trained: bool = False

    @property
    def resumed(self) -> Path | None:
        """The checkpoint that this sitting goes on from."""
        path = self.config.resume_from_checkpoint
        return Path(path) if path else None

    def progress(self, stage: Stage, seconds: float = PROGRESS_SECONDS) -> Callable[[int, int, str], None]:
        """A report(done, total, detail) that emits a reading every so many seconds, and the last one."""
        return Throttled(self.emitter, stage, seconds).report


class Throttled:
    """Progress of one stage, thinned out to what a person can see."""

    def __init__(
        self,
        emitter: Emitter,
        stage: Stage,
        seconds: float = PROGRESS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emitter = emitter
        self._stage = stage
        self._seconds = seconds
        self._clock = clock
        self._last: tuple[float, str] | None = None

    def report(self, done: int, total: int, detail: str = "") -> None:
        """A reading. The first of each detail and the last (done = total) always go out."""
        now = self._clock()
        fresh = self._last is None or self._last[1] != detail
        if fresh or done == total or self._last is None or now - self._last[0] >= self._seconds:
            self._last = (now, detail)
            self._emitter.emit(Progress(stage=self._stage, done=done, total=total, detail=detail))


def open_sitting(config: RunConfig, emitter: Emitter, steering: Steering) -> Sitting:
    """The sitting of `config`, whose output_dir is resolved and there."""
    assert config.output_dir is not None
    directory = RunDirectory(Path(config.output_dir))
    resumed = Path(config.resume_from_checkpoint) if config.resume_from_checkpoint else None
    store = CheckpointStore(
        directory,
        config.save_total_limit,
        emitter,
        resumed,
        keep_requested=config.keep_requested == "yes",
    )
    return Sitting(config, directory, emitter, steering, store)
