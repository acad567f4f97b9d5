"""A model's config.json, wherever it can be had without its weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kto_tui.core.config import TINY_MODEL
from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.models.chain import Chain, follow
from kto_tui.models.folder import gguf_file
from kto_tui.models.gguf_header import gguf_config
from kto_tui.models.hub import HubUnreachableError, ask_hub, cached_commits, explained
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


def model_config(model: str, revision: str | None = None, *, asks: bool = True) -> Mapping[str, Any]:
    """What config.json says: of a folder, the hub's cache, a package, or the hub, in this order.

    Of an adapter, its base's. Asks the hub for that file alone, if at all (`asks`); where it gives nothing,
    whatever commit of it the cache holds has to do. Raises NoConfig.
    """
    try:
        return _config_of(follow(model, revision), asks)
    except UserError as error:
        raise NoConfig(str(error).removeprefix(f"--model {printable(model)}").lstrip(": ")) from error
    except HubUnreachableError as error:
        raise NoConfig(str(error)) from error
    except (OSError, ValueError) as error:
        raise NoConfig(one_line(error)) from error


def _config_of(chain: Chain, asks: bool) -> Mapping[str, Any]:
    if chain.path is not None:
        packed = gguf_file(chain.path)
        return gguf_config(packed) if packed else _read(chain.path / "config.json")
    if chain.name == TINY_MODEL:
        return _TINY
    if cached := _cached(chain.name, chain.revision):
        return _read(cached)
    package = None if chain.revision else PACKAGES.get(chain.name)
    if package and (packed := package.path()):
        return gguf_config(packed)
    try:
        if not asks:
            raise HubUnreachableError("the local cache does not hold its config.json")
        return _read(_asked_for(chain.name, chain.revision))
    except HubUnreachableError:
        commits = [] if chain.revision else cached_commits(chain.name)
        held = [found for commit in commits if (found := _cached(chain.name, commit))]
        if not held:
            raise
        return _read(held[0])


def _cached(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json", revision=revision)
    return Path(found) if isinstance(found, str) else None


def _asked_for(model: str, revision: str | None) -> Path:
    """Its config.json, downloaded. Raises NoConfig, UserError, HubUnreachableError."""
    from huggingface_hub import hf_hub_download

    if not ask_hub(model, "config.json", "model", revision):
        raise NoConfig("the hub has no config.json for it")
    try:
        return Path(hf_hub_download(model, "config.json", revision=revision))
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
    except ValueError as error:
        raise NoConfig(f"its config.json is no JSON; {error}") from error
    if not isinstance(found, dict):
        raise NoConfig("its config.json holds no object")
    return found
