"""The base model and the adapter that a command of the terminal asked for."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from kto_tui.core.compatibility import ADAPTER_CONFIG
from kto_tui.core.config import RunConfig
from kto_tui.models.folder import MARKER, has_tokenizer, read_json
from kto_tui.training.after.pipe import Pipe
from kto_tui.training.card import hub_id


@contextmanager
def settings_in_place(pipe: Pipe, asked: Mapping[str, Any]) -> Iterator[RunConfig]:
    """The settings that came along, their output_dir a folder: a passing one for an adapter without a run."""
    config = msgspec.convert(asked, RunConfig)
    with tempfile.TemporaryDirectory(prefix="kto-tui-") as passing:
        pipe.leftovers.append(Path(passing))
        yield config if config.output_dir else msgspec.structs.replace(config, output_dir=passing)


def saved_tokenizer(adapter: Path, base: Path) -> Path:
    """The folder of the tokenizer and chat template that were trained with: the adapter's, or the base's."""
    return adapter if has_tokenizer(adapter) else base


def name_base(folder: Path, base: str) -> None:
    """Have the adapter in a folder name this base: a hub id or a folder."""
    path = folder / ADAPTER_CONFIG
    adapter = json.loads(path.read_text(encoding="utf-8"))
    adapter["base_model_name_or_path"] = base
    if os.path.isdir(base):
        adapter["revision"] = None
    path.write_text(json.dumps(adapter, indent=2), encoding="utf-8")


def other_base(config: RunConfig, kept: Path) -> list[str]:
    """What to say of a run that trained on a model of the hub, but not on the hub's own files of it.

    `kept`: the copy of the base that the run has made, if it has made one.
    """
    marker = read_json(kept / MARKER)
    if hub_id(config.model) is None or marker.get("model") != config.model:
        return []
    return [
        f"It was trained on a copy of {config.model} made from {marker.get('source')}, whose weights are "
        "rounded otherwise than those on the hub."
    ]
