"""What of a run's settings is another since the checkpoint that is gone on from, and whether that matters."""

import json
import os
from collections.abc import Iterable, Mapping
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
from kto_tui.core.schedule import needs_pairs
from kto_tui.core.setting import AUTO, AUTO_BATCH, shown
from kto_tui.core.templates import NAMES

_SOURCES = frozenset({"model", "dataset", "eval_dataset", "chat_template", "reference_cache", "output_dir"})

# Where rows are and how they are read: no more is left of it in the run than their tokens.
_READING = frozenset(
    {
        *("prompt_column", "completion_column", "label_column", "desirable_at_least"),
        *("dataset", "chat_template"),
    }
)
ACCUMULATORS_NAME = "accumulators.json"


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
    sums = _sums(checkpoint)
    patient = (before.early_stopping_patience, config.early_stopping_patience) != (None, None)
    harmless = HARMLESS if patient else HARMLESS | HARMLESS_WITHOUT_EARLY_STOPPING
    if before.max_steps is not None and before.max_steps == config.max_steps:
        harmless |= {"num_epochs"}  # --max-steps wins over it.
    harmless |= _without_effect(before) & _without_effect(config)
    if isinstance(sums.get("data"), str):
        harmless |= _READING  # The worker compares the tokens themselves.
    if isinstance(sums.get("base"), str):
        harmless |= {"model_revision"}  # And the files of the base.
    return [
        Change(name, old, new, name in harmless)
        for name in settings()
        if name not in START_ONLY
        and not _same(name, old := _effective(name, before), new := _effective(name, config))
        and not _comes_to_the_same(name, old, new, sums)
    ]


def describe_changes(changes: Iterable[Change]) -> str:
    """Each change on one line together: "--beta 0.1 -> 0.2, --max-steps unset -> 20"."""
    return ", ".join(
        f"{settings()[change.name].flag} {_worded(change.name, change.before)}"
        f" -> {_worded(change.name, change.now)}"
        for change in changes
    )


def _without_effect(config: RunConfig) -> frozenset[str]:
    """The settings that others make idle."""
    idle = {"warmup_ratio"} if config.lr_scheduler_type == "constant" else set()
    return frozenset(idle if needs_pairs(config) else {*idle, "kl_scope"})


def _sums(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint's accumulators; nothing where it has none that can be read, which the worker tells."""
    try:
        sums = json.loads((checkpoint / ACCUMULATORS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return sums if isinstance(sums, dict) else {}


def _comes_to_the_same(name: str, before: Any, now: Any, sums: Mapping[str, Any]) -> bool:
    """Whether `auto` was, in the run that wrote the checkpoint, what stands there now.

    What `auto` comes to now is known where it follows from the rows, or is taken from the checkpoint.
    """
    if name == "model_revision" and before is None and isinstance(sums.get("base"), str):
        return True  # It was begun before commits were kept.
    if name == "gradient_checkpointing":
        on = sums.get(name)
        return isinstance(on, bool) and {before, now} <= {AUTO, "on" if on else "off"}
    resolved = sums.get("resolved")
    known = resolved.get(name) if isinstance(resolved, dict) else None
    if name == "class_weights" and isinstance(known, list):
        given = [list(class_weights(text) or known) for text in (before, now)]
        return given[0] == given[1]
    return bool(before == AUTO and known is not None and now == known)


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
    if name == "lora_target_modules":
        return _names(before) == _names(now)
    if name == "chat_template" and not {before, now}.isdisjoint(NAMES):
        return bool(before == now)
    return same_source(before, now) if name in _SOURCES else bool(before == now)


def _same_mixture(before: str, now: str) -> bool:
    old, new = split_sources(before), split_sources(now)
    return len(old) == len(new) and all(
        was.weight == is_.weight and same_source(was.name, is_.name)
        for was, is_ in zip(old, new, strict=True)
    )


def _names(text: str) -> set[str]:
    return {part.strip() for part in text.split(",") if part.strip()}


def _worded(name: str, value: Any) -> str:
    if value is None:
        return "unset"
    if name == "batch_size" and value == AUTO_BATCH:
        return AUTO
    if isinstance(value, bool):
        return "on" if value else "off"
    text = shown(value)
    return text[1:-1] if isinstance(value, str) and text[-1] == text[0] and " " not in text else text
