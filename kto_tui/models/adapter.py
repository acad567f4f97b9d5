"""A LoRA adapter that a run goes on training: what it is, read from its small files without torch."""

import json
import math
import os
import re
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kto_tui.core.compatibility import ADAPTER_CONFIG
from kto_tui.core.config import ALL_LINEAR, TINY_MODEL, RunConfig
from kto_tui.core.errors import UserError, printable
from kto_tui.models.folder import ADAPTER_WEIGHTS, adapted_base, gguf_file, read_json
from kto_tui.models.kept import base_is_kept

# Ways of beginning that leave the base as it is; the others move a part of its weights into the adapter.
_PLAIN_BEGINNINGS = (True, False, None, "gaussian", "orthogonal")
_LORA = re.compile(r"\.lora_(A\.weight|B\.weight|B\.bias|magnitude_vector(\.weight)?)\Z")
_HEADS = ("lm_head", "embed_out", "output_layer")
_LARGEST_HEADER = 100 << 20


@dataclass(frozen=True)
class Adapter:
    """LoRA or DoRA on layers between both ends of `base` (as its config names it).

    `targets`: last words of its layers' names, as --lora-target-modules takes them; None where a pattern
    chooses them.
    """

    folder: Path
    base: str
    rank: int
    alpha: int
    targets: str | None
    parameters: int


def trainable_adapter(folder: Path) -> Adapter | None:
    """The adapter in a folder, where it can be trained on as it is; None for anything else.

    One that holds whole layers or embeddings, or whose base was changed to begin with (PiSSA), can only be
    merged. Raises UserError for an adapter that is of no use at all.
    """
    if not folder.is_dir() or gguf_file(folder) or (base := adapted_base(folder)) is None:
        return None
    settings = read_json(folder / ADAPTER_CONFIG)
    rank, alpha = _whole(settings.get("r")), _whole(settings.get("lora_alpha"))
    shapes = _shapes(folder / ADAPTER_WEIGHTS)
    if not rank or not alpha or not shapes:
        return None
    if not _is_plain(settings) or not all(map(_is_lora, shapes)):
        return None
    layers = {name.rpartition(".")[2] for name in _names(settings, "target_modules")}
    targets = [*sorted(layers), *sorted(_names(settings, "target_parameters"))]
    parameters = sum(math.prod(shape) for shape in shapes.values())
    return Adapter(folder, base, rank, alpha, ",".join(targets) or None, parameters)


def trained_on(config: RunConfig) -> Adapter | None:
    """The adapter that `config.model` holds, and that a run goes on training. Raises UserError.

    None in a run that had merged it, as older versions did, unless that is about to be deleted.
    """
    merged = not config.overwrite and base_is_kept(config, config.model)
    if config.model == TINY_MODEL or merged:
        return None
    return trainable_adapter(Path(os.path.expanduser(str(config.model))))


def begun_with(config: RunConfig, named: Collection[str] = ()) -> RunConfig:
    """The settings, those of the adapter that `config.model` holds taken over where it is trained on.

    `named`: the settings that the user gave a value. Raises UserError where such a one is another than the
    adapter's: its rank and layers are what they are, and another alpha would have it count for more or less.
    all-linear asks for no layer in particular.
    """
    if (adapter := trained_on(config)) is None:
        return config
    own = {"lora_rank": adapter.rank, "lora_alpha": adapter.alpha}
    for name, made in (*own.items(), ("lora_target_modules", adapter.targets)):
        given = getattr(config, name)
        if name in named and given != ALL_LINEAR and _parts(given) != _parts(made):
            option = f"--{name.replace('_', '-')}"
            raise UserError(
                f"{option} {given}: the adapter in {printable(str(adapter.folder))} was made with "
                f"{made or 'a pattern of its own'}, and is trained on as it is; leave {option} out"
            )
    layers = {"lora_target_modules": adapter.targets} if adapter.targets else {}
    return msgspec.structs.replace(config, **own, **layers)


def _parts(value: object) -> set[str]:
    return {part.strip() for part in str(value).split(",")}


def _whole(value: object) -> int:
    """A number without a fraction, from 1; 0 for anything else."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()
    return max(0, int(value)) if plain else 0  # type: ignore[call-overload]


def _is_plain(settings: Mapping[str, Any]) -> bool:
    """Whether LoRA is all that it is. An entry that is not known here does not count."""
    beside = (
        *("modules_to_save", "trainable_token_indices", "layer_replication"),
        *("alora_invocation_tokens", "use_qalora", "use_bdlora", "monteclora_config", "arrow_config"),
        "kasa_config",
    )
    return (
        not any(settings.get(name) for name in beside)
        and settings.get("bias", "none") == "none"
        and settings.get("init_lora_weights", True) in _PLAIN_BEGINNINGS
    )


def _is_lora(name: str) -> bool:
    return bool(_LORA.search(name)) and not any(f".{head}." in name for head in _HEADS)


def _names(settings: Mapping[str, Any], key: str) -> list[str]:
    found = settings.get(key)
    return [str(name) for name in found] if isinstance(found, list) else []


def _shapes(path: Path) -> dict[str, list[int]]:
    """By name, as the head of a safetensors file has them; empty for a file that is none."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            head = json.loads(file.read(min(length, _LARGEST_HEADER)))
        return {name: list(entry["shape"]) for name, entry in head.items() if name != "__metadata__"}
    except (OSError, ValueError, struct.error, LookupError, TypeError, AttributeError, RecursionError):
        return {}
