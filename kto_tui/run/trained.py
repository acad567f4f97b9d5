"""The adapter of a run: its final model, or a checkpoint of it; or an adapter that lies on its own."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from kto_tui.core.compatibility import ADAPTER_CONFIG
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import MANIFEST_NAME, RunDirectory, checkpoint_step
from kto_tui.core.errors import UserError, printable
from kto_tui.core.events import ModelLoaded, decode_event
from kto_tui.core.manifest import Damaged, newest_whole, problem_of, read_manifest
from kto_tui.core.resolve import recorded_settings
from kto_tui.insight.text import clean_text
from kto_tui.run.journal import LineFollower
from kto_tui.run.registry import is_alive

WEIGHTS = "adapter_model.safetensors"
_NOT_NEEDED = ("optimizer.pt", "rng_state*.pth", "scheduler.pt", "scaler.pt")
_ATTEMPTS = 5
_SHARED = "what is done here takes memory and time from the training"


@dataclass(frozen=True)
class Trained:
    """An adapter, the settings it was trained with, and what the user should know about the choice.

    `config.output_dir` is the folder of its run; None for an adapter that lies in no run's folder.
    `alive`: the run is under way. `base`: what the run has said of the base that it trained on.
    """

    adapter: Path
    config: RunConfig
    alive: bool = False
    notes: tuple[str, ...] = ()
    base: ModelLoaded | None = None

    @property
    def name(self) -> str:
        """The folders' names, for a heading: "my_run/checkpoint-50"."""
        adapter = self.adapter.resolve()
        return clean_text(f"{adapter.parent.name}/{adapter.name}")


def find_trained(given: str) -> Trained:
    """The adapter in a run's folder, a checkpoint or a final_model. Raises UserError.

    Of a run that is alive the newest whole checkpoint; of another one its final model, if there is one and
    the run did not go on after it.
    """
    path, name = Path(os.path.expanduser(given)), printable(given)
    if not os.path.isdir(path):  # Unlike Path.is_dir, this raises for no name, however odd.
        raise UserError(f"{name}: no such folder; expected a run, one of its checkpoints, or its final_model")
    if (path / ADAPTER_CONFIG).is_file():
        return _adapter(path)
    run = RunDirectory(path)
    if not run.holds_run():
        raise UserError(
            f"{name}: holds neither a run nor an adapter; kto-tui runs lists the runs of a folder"
        )
    if is_alive(run):
        return _of_alive(run)
    if (run.final_model / ADAPTER_CONFIG).is_file():
        return _newer_checkpoint(run) or _adapter(run.final_model)
    newest, passed_over = newest_whole(run)
    if newest is None:
        damaged = "".join(f"; {found.path.name}: {found.problem}" for found in passed_over[:1])
        raise UserError(f"{name}: the run has no {'whole ' if damaged else ''}checkpoint yet{damaged}")
    skipped = (f"{found.path.name} is passed over: {found.problem}" for found in passed_over)
    return _adapter(
        newest, notes=("the run has no final model; this is its newest whole checkpoint", *skipped)
    )


def _newer_checkpoint(run: RunDirectory) -> Trained | None:
    """The newest whole checkpoint, where it was written after the final model: the run went on, and did not
    complete since. An early-stopped run's final model is of an older step, but not written earlier.
    """
    final = _written(run.final_model)
    if all(_written(checkpoint) <= final for checkpoint in run.checkpoints()):
        return None
    newest, _ = newest_whole(run)
    if newest is None or _written(newest) <= final:
        return None
    note = (
        f"the run went on after its final_model was written, and has not completed since: this is its "
        f"{newest.name}; name {printable(str(run.final_model))} for the older one"
    )
    return _adapter(newest, notes=(note,))


def _written(adapter: Path) -> float:
    """When, in seconds since the epoch, by its manifest; older versions wrote none for a final model."""
    try:
        return read_manifest(adapter).time
    except Damaged:
        with suppress(OSError):
            return (adapter / WEIGHTS).stat().st_mtime
    return 0.0


@contextmanager
def held_trained(given: str) -> Iterator[Trained]:
    """As find_trained; of a run that is alive a passing copy, which its rotation cannot take away meanwhile.

    Raises UserError.
    """
    trained = find_trained(given)
    if not trained.alive:
        yield trained
        return
    with tempfile.TemporaryDirectory(prefix="kto-tui-") as passing:
        yield _copied(given, Path(passing))


def _copied(given: str, passing: Path) -> Trained:
    for attempt in range(_ATTEMPTS):
        trained = find_trained(given)
        adapter = trained.adapter.resolve()
        copy = passing / str(attempt) / adapter.parent.name / adapter.name
        try:
            shutil.copytree(adapter, copy, ignore=shutil.ignore_patterns(*_NOT_NEEDED))
        except OSError as error:  # shutil's own is one, too.
            shutil.rmtree(passing / str(attempt), ignore_errors=True)
            if not (adapter / MANIFEST_NAME).is_file():  # Rotated away just now: there is a newer one.
                continue
            raise UserError(
                f"{printable(given)}: {adapter.name} cannot be copied to {passing.parent}: {_reason(error)}; "
                "make room there, or set TMPDIR to another folder"
            ) from error
        return replace(trained, adapter=copy)
    raise UserError(f"{printable(given)}: its checkpoints come and go too fast; name a run that has ended")


def _reason(error: OSError) -> str:
    """Why a copy failed; shutil gathers (source, target, reason) of each file."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        said = str(error.args[0][0][2])
        return printable(re.sub(r"^\[Errno \d+\] (.*?)(: .*)?$", r"\1", said))
    return printable(error.strerror or str(error))


def _of_alive(run: RunDirectory) -> Trained:
    newest, _ = newest_whole(run)
    if newest is None:
        raise UserError(
            f"{printable(str(run.path))}: the run is alive and has no checkpoint yet; ask it for one "
            "(key c of kto-tui attach), or wait for the first"
        )
    note = f"the run is alive: this is its {newest.name}, and {_SHARED}"
    return _adapter(newest, notes=(note,))


def _adapter(path: Path, notes: tuple[str, ...] = ()) -> Trained:
    """The adapter in this folder. Raises UserError where it is damaged."""
    name = printable(str(path))
    if (path / MANIFEST_NAME).is_file() and (problem := problem_of(path)):
        raise UserError(f"{name}: it is damaged: {problem}; take another checkpoint")
    if not (path / WEIGHTS).is_file():
        raise UserError(f"{name}: found no {WEIGHTS}; expected what a run of kto-tui saves")
    run = RunDirectory(path.resolve().parent)
    home = run if run.settings.is_file() else None
    alive = home is not None and is_alive(home)
    if alive and not notes:
        notes = (f"the run is alive: {_SHARED}",)
    return Trained(path, _settings(path, home), alive, notes, _base_said(home) if home else None)


def _base_said(run: RunDirectory) -> ModelLoaded | None:
    """What the run's last sitting has said of its base; None where there is no word of it."""
    said = None
    with LineFollower(run.events) as journal:
        while lines := journal.read_new():
            for line in lines:
                if b"model_loaded" in line and isinstance(event := decode_event(line), ModelLoaded):
                    said = event
    return said


def _settings(adapter: Path, run: RunDirectory | None) -> RunConfig:
    """The settings it was trained with; where nobody recorded them, those that its own file tells."""
    own = recorded_settings(RunDirectory(adapter)) if checkpoint_step(adapter.resolve()) is not None else None
    config = own or (recorded_settings(run) if run else None) or RunConfig()
    if config.model is None:
        base, revision = _base_of(adapter)
        config = msgspec.structs.replace(config, model=base, model_revision=revision)
    trackers_off = {"report_to": None, "wandb": False}
    return msgspec.structs.replace(config, output_dir=str(run.path) if run else None, **trackers_off)


def _base_of(adapter: Path) -> tuple[str, str | None]:
    """Its name, and the commit of the hub that is meant, if the adapter tells it. Raises UserError."""
    name = revision = None
    try:
        saved = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        name, revision = saved["base_model_name_or_path"], saved.get("revision")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # Said below.
    if not isinstance(name, str) or not name:
        raise UserError(f"{printable(str(adapter))}: {ADAPTER_CONFIG} does not name the model that it adapts")
    return name, revision if isinstance(revision, str) and not os.path.exists(name) else None
