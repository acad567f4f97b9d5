"""The process behind `kto-tui export`: merges, converts and uploads what a run has trained.

The first line on stdin is the request: `config`, `adapter`; `to` and perhaps `dtype` to merge, `merged` (the
dtype of what lies there) where that is done, `gguf` (a type), `repo` and `public` to upload, `used` for the
card (what the run has trained with). It says `progress`, then `merged`, `converted` and `published`.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.models.folder import read_json
from kto_tui.training.after.base import settings_in_place
from kto_tui.training.after.gguf import convert, find_converter
from kto_tui.training.after.logged import log_history, resolved_settings
from kto_tui.training.after.pipe import Pipe, serve
from kto_tui.training.after.publish import (
    publish_adapter,
    publish_merged,
    require_access,
    require_public_base,
)
from kto_tui.training.beginning import on_base
from kto_tui.training.card import public_name, told_training, training_sections
from kto_tui.training.environment import prepare_environment


def export(pipe: Pipe, request: dict[str, Any]) -> None:
    """All that was asked for. What could fail early is asked before weights are loaded. Raises UserError."""
    with settings_in_place(pipe, request["config"]) as given:
        prepare_environment()
        adapter = Path(request["adapter"])
        config = on_base(given, adapter)
        converter = find_converter(request["gguf"]) if request.get("gguf") else None
        repo, public = request.get("repo"), bool(request.get("public"))
        if repo:
            if not request.get("to"):
                require_public_base(config)
            repo = require_access(repo, public=public)
        used = dict(request.get("used") or {})
        if given.model != config.model:
            used["began with"] = f"the adapter {public_name(given.model)}"
        used["revision of the base"] = config.model_revision
        training = _training(config, adapter, used)
        if not request.get("to"):
            publish_adapter(pipe, config, adapter, training, str(repo), public=public)
            return
        if ready := request.get("merged"):
            merged, dtype = Path(request["to"]), str(ready)
        else:
            merged, dtype = _merge(pipe, config, request, training)
        if converter:
            pipe.progress(0, 0, "llama.cpp's converter is at work")
            path = convert(pipe, converter, merged, request["gguf"])
            pipe.say("converted", path=str(path), bytes=path.stat().st_size)
        if repo:
            try:
                publish_merged(pipe, config, merged, training, repo, dtype, public=public)
            except UserError as error:
                raise UserError(f"{error}; the merged model is in {merged}") from error


def _merge(pipe: Pipe, config: RunConfig, request: Mapping[str, Any], training: str) -> tuple[Path, str]:
    # A run may be at work on the GPU, and merging gains nothing from one.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    from kto_tui.training.after.merge import merge

    return merge(pipe, config, request, training)


def _training(config: RunConfig, adapter: Path, used: Mapping[str, object]) -> str:
    """What a card says of the run: as the final model's does; for a checkpoint, from what it has kept."""
    card = adapter / "README.md"
    told = told_training(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    if told:
        return told
    logs = log_history(adapter)
    step = read_json(adapter / "trainer_state.json").get("global_step")
    if not isinstance(step, int):
        step = max((int(entry["step"]) for entry in logs if isinstance(entry.get("step"), int)), default=0)
    return training_sections(config, step=step, logs=logs, used={**resolved_settings(adapter), **used})


if __name__ == "__main__":
    sys.exit(serve(export))
