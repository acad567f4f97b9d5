"""What of a run's settings is another since the checkpoint that is gone on from, and whether that matters."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kto_tui.core.compatibility import same_source
from kto_tui.core.config import (
    HARMLESS,
    HARMLESS_WITHOUT_EARLY_STOPPING,
    START_ONLY,
    RunConfig,
    class_weights,
    evaluates,
    settings,
)
from kto_tui.core.directory import RunDirectory
from kto_tui.core.mixture import split_sources
from kto_tui.core.resolve import read_settings
from kto_tui.core.setting import shown

_SOURCES = frozenset({"model", "dataset", "eval_dataset", "chat_template", "reference_cache", "output_dir"})


@dataclass(frozen=True)
class Change:
    """A setting that is another than before. `harmless`: the final weights do not depend on it."""

    name: str
    before: Any
    now: Any
    harmless: bool


def saved_settings(checkpoint: Path) -> dict[str, Any] | None:
    """The settings that a checkpoint was written with: its own copy, or for older ones those of its run.

    None where neither is there. Raises UserError for settings that cannot be read.
    """
    for directory in (RunDirectory(checkpoint), RunDirectory(checkpoint.parent)):
        if os.path.isfile(directory.settings):
            return read_settings(directory.settings)
    return None


def changed_settings(checkpoint: Path, config: RunConfig) -> list[Change]:
    """The settings in which `config` differs from those of the checkpoint, in the order of their declaration.

    Empty where it is not known what they were. Raises UserError for settings that cannot be read.
    """
    values = saved_settings(checkpoint)
    if values is None:
        return []
    before = RunConfig(**values)
    patient = (before.early_stopping_patience, config.early_stopping_patience) != (None, None)
    harmless = HARMLESS if patient else HARMLESS | HARMLESS_WITHOUT_EARLY_STOPPING
    if before.max_steps is not None and before.max_steps == config.max_steps:
        harmless |= {"num_epochs"}  # --max-steps wins over it.
    return [
        Change(name, old, new, name in harmless)
        for name in settings()
        if name not in START_ONLY
        and not _same(name, old := _effective(name, before), new := _effective(name, config))
    ]


def describe_changes(changes: Iterable[Change]) -> str:
    """Each change on one line together: "--beta 0.1 -> 0.2, --max-steps unset -> 20"."""
    return ", ".join(
        f"{settings()[change.name].flag} {_worded(change.before)} -> {_worded(change.now)}"
        for change in changes
    )


def _effective(name: str, config: RunConfig) -> Any:
    """The value, or what it follows from where it is not set."""
    if name == "eval_steps" and config.eval_steps is None and evaluates(config):
        return config.save_steps
    return getattr(config, name)


def _same(name: str, before: Any, now: Any) -> bool:
    if name == "class_weights":
        return class_weights(before) == class_weights(now)
    if name == "dataset" and None not in (before, now):
        return _same_mixture(before, now)
    return same_source(before, now) if name in _SOURCES else bool(before == now)


def _same_mixture(before: str, now: str) -> bool:
    old, new = split_sources(before), split_sources(now)
    return len(old) == len(new) and all(
        was.weight == is_.weight and same_source(was.name, is_.name)
        for was, is_ in zip(old, new, strict=True)
    )


def _worded(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "on" if value else "off"
    text = shown(value)
    return text[1:-1] if isinstance(value, str) and text[-1] == text[0] and " " not in text else text
