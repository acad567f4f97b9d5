"""Going on from a checkpoint: which one, whether it is whole, and with which settings."""

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from kto_tui.cli.screen import warn
from kto_tui.core.changes import changed_settings, describe_changes, saved_settings
from kto_tui.core.compatibility import check_adapter
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import MANIFEST_NAME, RunDirectory, checkpoint_step
from kto_tui.core.errors import UserError
from kto_tui.core.manifest import PassedOver, newest_whole, problem_of, put_back_replaced
from kto_tui.core.presets import load_preset
from kto_tui.core.resolve import read_settings, resolve
from kto_tui.core.setting import AUTO_BATCH
from kto_tui.run.lock import in_use, wait_for_worker
from kto_tui.run.registry import is_alive

_PATIENCE_SECONDS = 1.0


def resumed_settings(given: Mapping[str, Any], config_file: Path | None) -> RunConfig:
    """The settings of a run that goes on: the checkpoint's own, but for what is asked for anew.

    Says on stderr which checkpoints were passed over. Raises UserError.
    """
    wanted = given["resume_from_checkpoint"]
    if not wanted:
        raise UserError("--resume-from-checkpoint: found nothing; expected latest, or a checkpoint's folder")
    if wanted == "latest":
        folder = given.get("output_dir") or _configured_folder(given, config_file)
        folder = os.path.expanduser(folder)
        checkpoint = _latest(RunDirectory.at(folder))
    else:
        checkpoint = Path(wanted).expanduser()
        folder = given.get("output_dir") or str(checkpoint.parent)
        _settle(RunDirectory.at(folder))
        _check_named(checkpoint)
        _check_newest(checkpoint, RunDirectory.at(folder))
    asked = {**given, "output_dir": folder, "resume_from_checkpoint": str(checkpoint)}
    base = saved_settings(checkpoint) or {}
    _check_size({**(read_settings(config_file) if config_file else {}), **given}, base)
    config = _with_batch_of(base, resolve(asked, config_file, base))
    check_adapter(checkpoint, config)
    _check_changes(checkpoint, config)
    return config


def _with_batch_of(base: Mapping[str, Any], config: RunConfig) -> RunConfig:
    """Where the batch is left to the memory plan, it is what that once made of it: the rows stay in step."""
    if config.batch_size != AUTO_BATCH or base.get("batch_size") in (None, AUTO_BATCH):
        return config
    names = ("batch_size", "gradient_accumulation_steps")
    return msgspec.structs.replace(config, **{name: base[name] for name in names if name in base})


def _configured_folder(given: Mapping[str, Any], config_file: Path | None) -> str:
    if "model_size" not in given and "model" not in given and config_file is None:
        raise UserError("--resume-from-checkpoint latest: of which run? Add --output-dir DIR")
    folder = resolve({**given, "resume_from_checkpoint": None}, config_file).output_dir
    assert folder is not None
    return folder


def _latest(directory: RunDirectory) -> Path:
    """The newest checkpoint that is as it was written. Names those passed over on stderr."""
    _settle(directory)
    with _patient(f"the checkpoints in {directory.path}"):
        newest, passed_over = newest_whole(directory)
    if newest is None:
        found = f"no whole checkpoint: {_listed(passed_over)}" if passed_over else "no checkpoint"
        raise UserError(f"--resume-from-checkpoint latest: {directory.path} holds {found}")
    for passed in passed_over:
        warn(f"{passed.path.name} is passed over: {passed.problem}")
    if passed_over:
        warn(f"going on from {newest}")
    return newest


def _settle(directory: RunDirectory) -> None:
    """Have a folder whose processes died be as it stays: nobody writes there, nothing lies aside."""
    if is_alive(directory):
        raise in_use(directory.path)
    wait_for_worker(directory.worker_lock)
    if directory.staging.is_dir():
        with suppress(OSError):  # On a disk that is read-only now, what is in its place has to do.
            put_back_replaced(directory)


def _listed(passed_over: Iterable[PassedOver]) -> str:
    return ", ".join(f"{passed.path.name} ({passed.problem})" for passed in passed_over)


def _check_named(checkpoint: Path) -> None:
    if not checkpoint.is_dir():
        raise UserError(f"--resume-from-checkpoint {checkpoint}: no such folder")
    if not (checkpoint / MANIFEST_NAME).is_file():
        raise UserError(f"--resume-from-checkpoint {checkpoint}: not a whole checkpoint (no {MANIFEST_NAME})")
    problem = _problem(checkpoint)
    if problem is None:
        return
    with _patient(f"the checkpoints in {checkpoint.parent}"):
        whole, _ = newest_whole(RunDirectory(checkpoint.parent))
    instead = f"; resume from {whole} instead" if whole else ", and no other one there is whole"
    raise UserError(f"--resume-from-checkpoint {checkpoint}: not as it was written: {problem}{instead}")


def _check_newest(checkpoint: Path, directory: RunDirectory) -> None:
    """Going on from an old checkpoint beside newer ones would mix two histories in one folder.

    Newer ones that are damaged are none that anybody could go on from.
    """
    step = checkpoint_step(checkpoint)
    if step is None or checkpoint.resolve().parent != directory.path.resolve():
        return
    for newer in reversed(directory.checkpoints()):
        if (checkpoint_step(newer) or 0) > step and _problem(newer) is None:
            raise UserError(
                f"--resume-from-checkpoint {checkpoint}: {directory.path} holds a newer one ({newer.name}); "
                "use latest, or branch off into another --output-dir"
            )


def _problem(checkpoint: Path) -> str | None:
    with _patient(checkpoint.name):
        return problem_of(checkpoint)


@contextmanager
def _patient(what: str) -> Iterator[None]:
    """Checkpoints have gigabytes: whoever waits at a terminal is told for what."""
    timer = threading.Timer(_PATIENCE_SECONDS, warn, [f"verifying {what} ..."])
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _check_size(asked: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """A preset named beside the checkpoint of another one: the model would silently be the old one."""
    size = asked.get("model_size")
    if size is None or "model" in asked or not base:
        return
    wanted, had = load_preset(size).get("model"), base.get("model")
    if wanted != had:
        raise UserError(f"--model-size {size} is {wanted}; the run to resume was trained from {had}")


def _check_changes(checkpoint: Path, config: RunConfig) -> None:
    """Refuse settings with which the run would end elsewhere, unless that is asked for."""
    changes = [change for change in changed_settings(checkpoint, config) if not change.harmless]
    if changes and not config.allow_changed_settings:
        raise UserError(
            f"--resume-from-checkpoint {checkpoint}: other settings than it was trained with would change "
            f"the result: {describe_changes(changes)}; add --allow-changed-settings, or leave them out"
        )
