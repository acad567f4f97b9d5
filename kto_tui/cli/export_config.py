"""`kto-tui export-config --to trl`: the same run as a command of another trainer."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kto_tui.cli.request import settings_of
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError, printable
from kto_tui.core.events import DataReady, ModelLoaded
from kto_tui.core.neighbours.to_trl import Known, TrlRun, to_trl
from kto_tui.core.resolve import recorded_settings
from kto_tui.models.adapter import begun_with, trained_on
from kto_tui.models.kept import kept_in
from kto_tui.run.journal import read_journal


def export_config(options: Mapping[str, Any]) -> int:
    """Print the command. Returns the exit code. Raises UserError."""
    asked = {name: value for name, value in options.items() if name not in ("to", "run_dir", "no_ui")}
    if "run_dir" in options:
        if asked:
            other = next(iter(asked)).replace("_", "-")
            raise UserError(f"RUN_DIR and --{other}: give a run, or settings as options")
        run = to_trl(*_of_run(RunDirectory.at(options["run_dir"])))
    else:
        config = settings_of(asked)
        adapter = trained_on(config)
        run = to_trl(begun_with(config), Known(below=adapter.base if adapter else None))
    sys.stdout.write(_script(run))
    return 0


def _of_run(directory: RunDirectory) -> tuple[RunConfig, Known]:
    """The run's settings, and what it has chosen where they leave it the choice."""
    config = recorded_settings(directory)
    if config is None:
        raise UserError(
            f"{directory.path}: holds no run whose settings can be read; expected a folder with run.yaml"
        )
    events = read_journal(directory.events) if directory.events.is_file() else []
    kept = kept_in(directory.reference_adapter, config.model)
    known = Known(
        base=str(directory.base_model) if directory.base_model.is_dir() else None,
        below=kept.base if kept else None,
        revision=kept.revision if kept else None,
    )
    for event in events:
        if isinstance(event, DataReady):
            known = replace(known, weights=event.weights)
        elif isinstance(event, ModelLoaded):
            known = replace(known, quantization=event.quantization, dtype=event.dtype, device=event.device)
    return config, known


def _script(run: TrlRun) -> str:
    """Shell: what TRL does otherwise as comments, then the command, an option a line."""
    comments = [f"# {printable(remark)}" for remark in run.remarks]
    lines = [" ".join([f"--{name}", *map(shlex.quote, values)]) for name, values in run.options]
    return "\n".join([*comments, " \\\n    ".join(["trl kto", *lines])]) + "\n"
