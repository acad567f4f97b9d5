"""All trackers of one sitting: fed by the training, watched, and closed with it."""

import copy
import functools
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kto_tui.core.config import RunConfig
from kto_tui.core.config import trackers as names_of
from kto_tui.core.errors import UserError, one_line
from kto_tui.core.events import AlertRaised
from kto_tui.core.setting import shown
from kto_tui.core.trackers import EXPECTED
from kto_tui.training.trackers.aside import Aside
from kto_tui.training.trackers.backends import BACKENDS, Backend, Opening
from kto_tui.training.trackers.memory import Memory, Remembered

logger = logging.getLogger(__name__)

PROJECT = "kto-tui"
# A call may take long on a slow line, which costs nothing while training goes on; its end waits for less.
HANG_SECONDS = 60.0
END_SECONDS = 15.0

Emit = Callable[[AlertRaised], None]


class Trackers:
    """The trackers that `config` names, none of them begun yet. No method waits, but for `close`."""

    def __init__(self, config: RunConfig) -> None:
        assert config.output_dir is not None
        self._folder = Path(config.output_dir).resolve()
        self._project = config.wandb_project or PROJECT
        self._name = config.wandb_run_name or self._folder.name
        self._memory = Memory(self._folder, goes_on=_goes_on(config, self._folder))
        for name in names_of(config):
            if name not in BACKENDS:
                raise UserError(f"--report-to {shown(name)[1:-1]}: no such tracker; {EXPECTED}")
        changed = config.allow_changed_settings
        self._feeds = [Feed(name, BACKENDS[name](), self._memory, changed) for name in names_of(config)]
        self._told: set[str] = set()
        self._emit: Emit | None = None
        self._step = 0
        if not self._feeds and config.resume_from_checkpoint is None:
            self._memory.forget()

    def begin(self, emit: Emit, args: Any, state: Any, model: Any) -> None:
        """Open the runs. `emit` takes alerts; the rest is what transformers gives to its callbacks."""
        if self._emit is not None:
            return
        self._emit = emit
        for feed in self._feeds:
            before = self._memory.of(feed.aside.name, self._project)
            opening = Opening(self._folder, self._project, self._name, state.global_step, before)
            feed.begin(opening, args, copy.copy(state), model)

    def log(self, args: Any, state: Any, logs: dict[str, Any]) -> None:
        """Metrics of the step that `state` is at. Tells of trackers that failed since."""
        if kind := _kind(logs):
            for feed in self._feeds:
                feed.log(kind, args, copy.copy(state), logs)
        self.look(state.global_step)

    def look(self, step: int) -> None:
        """Tell, once each, of trackers that failed or hang."""
        self._step = step
        for feed in self._feeds:
            if feed.aside.hangs(HANG_SECONDS):
                feed.aside.give_up(f"no answer for {HANG_SECONDS:.0f} s")
            self._tell(feed)

    def close(self, *, failed: bool, seconds: float) -> None:
        """Close the runs, as failed or not, and wait for that at most so many seconds."""
        if self._emit is None:
            return
        for feed in self._feeds:
            feed.finish(failed=failed)
        deadline = time.monotonic() + seconds
        for feed in self._feeds:
            if not feed.aside.end(deadline) and feed.aside.problem is None:
                feed.aside.give_up(f"not done {seconds:.2g} s after the run's end")
            self._tell(feed)

    def _tell(self, feed: "Feed") -> None:
        aside = feed.aside
        if aside.problem is None or aside.name in self._told or self._emit is None:
            return
        self._told.add(aside.name)
        feed.abandon()
        self._emit(
            AlertRaised(
                kind="tracker_failed",
                severity="warning",
                message=f"tracker {aside.name}: {aside.problem}",
                advice="Training goes on without it; its curves end here. All metrics are in the journal.",
                step=self._step,
            )
        )


class Feed:
    """One tracker behind its queue: what is sent, and what is remembered of that.

    `changed`: steps that are taken again may come to other values than before.
    """

    def __init__(self, name: str, backend: Backend, memory: Memory, changed: bool) -> None:
        self.aside = Aside(name)
        self._backend = backend
        self._memory = memory
        self._changed = changed
        self._kept: Remembered | None = None
        self._unwritten = False

    def begin(self, opening: Opening, args: Any, state: Any, model: Any) -> None:
        self.aside.post(functools.partial(self._begin, opening, args, state, model))

    def log(self, kind: str, args: Any, state: Any, logs: dict[str, Any]) -> None:
        self.aside.post(functools.partial(self._log, kind, args, state, dict(logs)))

    def finish(self, *, failed: bool) -> None:
        self.aside.post(functools.partial(self._finish, failed=failed))

    def abandon(self) -> None:
        self._backend.abandon()

    def _begin(self, opening: Opening, args: Any, state: Any, model: Any) -> None:
        name = self._backend.begin(opening, args, state, model)
        before = opening.before if opening.before and opening.before.id == name else None
        self._kept = kept = before or Remembered(opening.project, name)
        if self._changed or (self._backend.buffers and not kept.closed):
            kept.steps = {kind: min(step, opening.step) for kind, step in kept.steps.items()}
        kept.closed = False
        self._keep(kept)

    def _log(self, kind: str, args: Any, state: Any, logs: dict[str, Any]) -> None:
        """A run that goes on from an older checkpoint takes some steps again, as a rule to the same values.

        `_begin` has them sent again where they may be others, or may never have arrived.
        """
        kept, step = self._kept, state.global_step
        assert kept is not None
        if not self._backend.replaces and step <= kept.steps.get(kind, -1):
            return
        self._backend.log(args, state, logs)
        kept.steps[kind], kept.rows = step, kept.rows + 1
        self._keep(kept)

    def _finish(self, *, failed: bool) -> None:
        self._backend.finish(failed=failed)
        if self._kept is not None:
            self._kept.closed = True
            self._keep(self._kept)

    def _keep(self, kept: Remembered) -> None:
        """A folder that is full for a moment is no fault of the tracker's: the next row tries again."""
        try:
            self._memory.keep(self.aside.name, kept)
            self._unwritten = False
        except OSError as error:
            if not self._unwritten:
                logger.warning("trackers.json: not written; %s", one_line(error))
            self._unwritten = True


def _kind(logs: Mapping[str, Any]) -> str | None:
    """train or eval; None for the sums over a sitting at its end, which a resumed run would have twice."""
    if "loss" in logs:
        return "train"
    return "eval" if "eval_loss" in logs else None


def _goes_on(config: RunConfig, folder: Path) -> bool:
    resumed = config.resume_from_checkpoint
    return resumed is not None and Path(resumed).resolve().parent == folder
