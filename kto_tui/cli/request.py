"""From the options to settings that can run. Whatever is wrong is said here, before anything is made."""

import multiprocessing
import os
import tempfile
from collections.abc import Collection, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kto_tui.cli.resuming import resumed_settings
from kto_tui.cli.screen import warn
from kto_tui.cli.tracking import check_trackers
from kto_tui.core.config import SAMPLE_DATASET, RunConfig
from kto_tui.core.counts import Counts
from kto_tui.core.errors import UserError, printable
from kto_tui.core.mixture import joined, split_sources
from kto_tui.core.resolve import resolve, settings_notes
from kto_tui.core.schedule import held_out_rows
from kto_tui.core.setting import NO_CACHE
from kto_tui.core.templates import NAMES
from kto_tui.data import Columns, check_rows
from kto_tui.models.adapter import begun_with
from kto_tui.models.chain import follow
from kto_tui.models.check import check_model
from kto_tui.models.kept import base_is_kept, model_at_hand

_READ_LIGHTLY = (".json", ".jsonl", ".csv", ".tsv")


@dataclass(frozen=True)
class Request:
    """A request that was checked as far as that is possible without loading the model."""

    config: RunConfig
    data: Counts
    evaluation: Counts | None


def settings_of(options: Mapping[str, Any]) -> RunConfig:
    """The settings asked for, those of the run that is resumed included. Raises UserError."""
    given = {name: value for name, value in options.items() if name not in ("config", "no_ui")}
    config_file = Path(options["config"]) if "config" in options else None
    if config_file is not None:
        for note in settings_notes(config_file):
            warn(note)
    if "resume_from_checkpoint" in given:
        return resumed_settings(given, config_file)
    config = resolve(given, config_file)
    if config.resume_from_checkpoint is not None:
        given["resume_from_checkpoint"] = config.resume_from_checkpoint
        return resumed_settings(given, config_file)
    return config


def check(config: RunConfig, named: Collection[str] = (), *, planned: bool = False) -> Request:
    """Look at the model and the data. Raises UserError, in one line, for what could not be trained.

    `named`: the settings that the user gave a value. `planned`: nothing is to be started, and the model is
    left to whoever plans. Else a model of the hub is pinned to the commit that was found.
    """
    if config.overwrite and config.resume_from_checkpoint:
        raise UserError("--overwrite and --resume-from-checkpoint: choose one of them")
    check_trackers(config)
    _check_overwritten(config)
    if config.dataset is None:
        raise UserError(f"no data: give --dataset ID|FILE ({SAMPLE_DATASET} is a small sample)")
    config = _with_absolute_paths(config)
    _check_template(config.chat_template)
    assert config.model is not None
    assert config.dataset is not None
    data = _count(config.dataset, config)
    evaluation = _count(config.eval_dataset, config, both_labels=False) if config.eval_dataset else None
    _check_fraction(config, data)
    _check_cache(config.reference_cache)
    if not planned:
        config = with_model(config)
    if not config.resume_from_checkpoint:
        began, config = config, begun_with(config, named)
        if "lora_target_modules" in named and config.lora_target_modules != began.lora_target_modules:
            warn(f"the adapter in --model is trained on as it is, on {config.lora_target_modules}")
    return Request(config, data, evaluation)


def with_model(config: RunConfig) -> RunConfig:
    """The settings, their model looked at and pinned, but for what the run that goes on has kept of it.

    Raises UserError.
    """
    model, revision = model_at_hand(config)
    if config.resume_from_checkpoint and base_is_kept(config, model):
        return config
    commit = check_model(model, revision)
    pinned = commit is not None and model == config.model
    return msgspec.structs.replace(config, model_revision=commit) if pinned else config


def _count(source: str, config: RunConfig, *, both_labels: bool = True) -> Counts:
    """Check all rows. Parquet and the hub need libraries of 100 MB: those stay in a process of their own."""
    columns = Columns.of(config)
    if all(
        each.name.endswith(_READ_LIGHTLY) or each.name == SAMPLE_DATASET for each in split_sources(source)
    ):
        return check_rows(source, columns, both_labels=both_labels)
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            return process.submit(check_rows, source, columns, both_labels=both_labels).result()
    except BrokenProcessPool:
        raise UserError(
            f"{source}: the process that read it died; is the file damaged, or the memory short?"
        ) from None


def _check_overwritten(config: RunConfig) -> None:
    """A model made by the run that --overwrite deletes would be gone before it is read, or its base."""
    assert config.model is not None
    assert config.output_dir is not None
    if not config.overwrite:
        return
    chain, folder = follow(config.model, config.model_revision), Path(config.output_dir).resolve()
    for path in (*chain.adapters, *([chain.path] if chain.path else [])):
        if folder in (path.resolve(), *path.resolve().parents):
            what = "the base of " if path == chain.path and chain.adapters else ""
            raise UserError(
                f"--overwrite: it would delete {folder}, where {what}--model {config.model} lies; "
                "choose another --output-dir"
            )


def _check_fraction(config: RunConfig, data: Counts) -> None:
    """Both parts need two rows at least: each row is set against the answer of another one."""
    if config.eval_fraction is None:
        return
    held_out = held_out_rows(config, data.total)
    if min(held_out, data.total - held_out) < 2:
        raise UserError(
            f"--eval-fraction {config.eval_fraction:g}: of {data.total} rows, about {held_out} would be held "
            f"out and {data.total - held_out} trained on; expected at least 2 of each"
        )


def _check_cache(cache: str | None) -> None:
    """A folder that cannot be written to costs time and no run; one that cannot even be made is a slip."""
    if cache is None or cache == NO_CACHE:
        return
    path = Path(cache)
    existing = next(part for part in (path, *path.parents) if os.path.lexists(part))
    if not existing.is_dir():
        raise UserError(f"--reference-cache {cache}: {existing} is not a folder; name another, or off")
    if existing == path:
        return
    try:
        os.rmdir(tempfile.mkdtemp(dir=existing))
    except OSError:
        raise UserError(
            f"--reference-cache {cache}: no folder can be made in {existing}; name another, or off"
        ) from None


def _check_template(chosen: str | None) -> None:
    """What is in the file is looked at where it is used."""
    if chosen is not None and chosen not in NAMES and not os.path.isfile(chosen):
        found = "a folder" if os.path.isdir(chosen) else "no such file, and no such template"
        wanted = f"expected a Jinja file, or one of {', '.join(NAMES)}"
        raise UserError(f"--chat-template {printable(chosen)}: found {found}; {wanted}")


def _absolute(name: str) -> str:
    """The full path of what lies on this machine; anything else as it is."""
    path = os.path.expanduser(name)
    return os.path.abspath(path) if os.path.exists(path) else name


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    """Local files and folders by their full path, so that run.yaml means the same from any folder."""
    names = ("model", "eval_dataset", "chat_template")
    changed = {
        name: _absolute(value)
        for name in names
        if (value := getattr(config, name)) and not (name == "chat_template" and value in NAMES)
    }
    if config.dataset:
        sources = split_sources(config.dataset)
        changed["dataset"] = joined(tuple(each._replace(name=_absolute(each.name)) for each in sources))
    if config.reference_cache not in (None, NO_CACHE):
        changed["reference_cache"] = os.path.abspath(config.reference_cache)
    return msgspec.structs.replace(config, **changed)
