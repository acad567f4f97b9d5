"""A model's config.json, wherever it can be had without its weights."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kto_tui.core.config import TINY_MODEL
from kto_tui.core.errors import UserError, one_line
from kto_tui.models.folder import DEEPEST, adapted_base, gguf_file, kept_base
from kto_tui.models.gguf_header import gguf_config
from kto_tui.models.hub import HubUnreachableError, ask_hub, explained, looks_like_path
from kto_tui.models.packages import PACKAGES

_MOST_BYTES = 4 << 20

# training/tiny.py builds it.
_TINY: Mapping[str, Any] = {
    "model_type": "llama",
    "vocab_size": 261,
    "hidden_size": 192,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}


class NoConfig(Exception):
    """There is no config to be had; the text says why, to stand after the model's name."""


def model_config(model: str) -> Mapping[str, Any]:
    """What config.json says: of a folder, the hub's cache, a package, or the hub, in this order.

    Of an adapter, its base's. Asks the hub for that file alone. Raises NoConfig.
    """
    return _config_of(model, 0)


def _config_of(model: str, depth: int) -> Mapping[str, Any]:
    if model == TINY_MODEL:
        return _TINY
    path = Path(os.path.expanduser(model))
    try:
        if model and os.path.exists(path):
            return _of_path(path, depth)
        if not model or looks_like_path(model):
            raise NoConfig("there is no such folder")
        if cached := _cached(model):
            return _read(cached)
        package = PACKAGES.get(model)
        if package and (packed := package.path()):
            return gguf_config(packed)
        return _read(_asked_for(model))
    except (UserError, HubUnreachableError, OSError, ValueError) as error:
        raise NoConfig(one_line(error)) from error


def _of_path(path: Path, depth: int) -> Mapping[str, Any]:
    if packed := gguf_file(path):
        return gguf_config(packed)
    base = adapted_base(path) if path.is_dir() else None
    if base is None:
        return _read(path / "config.json")
    if depth == DEEPEST:
        raise NoConfig("it is an adapter of an adapter, and so on")
    beside = kept_base(path, base)
    return _config_of(str(beside) if beside else base, depth + 1)


def _cached(model: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json")
    return Path(found) if isinstance(found, str) else None


def _asked_for(model: str) -> Path:
    """Its config.json, downloaded. Raises NoConfig, UserError, HubUnreachableError."""
    from huggingface_hub import hf_hub_download

    if not ask_hub(model, "config.json", "model"):
        raise NoConfig("the hub has no config.json for it")
    try:
        return Path(hf_hub_download(model, "config.json"))
    except (OSError, ValueError) as error:
        raise explained(error, model, "model") from error


def _read(path: Path) -> Mapping[str, Any]:
    """The file's content. Raises OSError, ValueError, NoConfig."""
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise NoConfig(f"its config.json is larger than {_MOST_BYTES >> 20} MiB")
    try:
        found = json.loads(content)
    except RecursionError as error:
        raise NoConfig("its config.json is nested too deep") from error
    if not isinstance(found, dict):
        raise NoConfig("its config.json holds no object")
    return found
