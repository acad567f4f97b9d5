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
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError, printable
from kto_tui.models.folder import MARKER, adapted_base, gguf_file, missing_part, read_json

WEIGHTS = "adapter_model.safetensors"
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
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    shapes = _shapes(folder / WEIGHTS)
    if type(rank) is not int or type(alpha) is not int or min(rank, alpha) < 1:
        return None
    if not shapes or not _is_plain(settings) or not all(map(_is_lora, shapes)):
        return None
    layers = {name.rpartition(".")[2] for name in _names(settings, "target_modules")}
    targets = [*sorted(layers), *sorted(_names(settings, "target_parameters"))]
    parameters = sum(math.prod(shape) for shape in shapes.values())
    return Adapter(folder, base, rank, alpha, ",".join(targets) or None, parameters)


def begun_with(config: RunConfig, named: Collection[str] = ()) -> RunConfig:
    """The settings, those of the adapter that `config.model` holds taken over where it is trained on.

    `named`: the settings that the user gave a value. Raises UserError where such a one is another than the
    adapter's: its rank is what it is, and another alpha would have it count for more or less.
    """
    adapter = trainable_adapter(Path(os.path.expanduser(str(config.model))))
    if adapter is None:
        return config
    for name, option, own in (
        ("lora_rank", "--lora-rank", adapter.rank),
        ("lora_alpha", "--lora-alpha", adapter.alpha),
    ):
        given = getattr(config, name)
        if name in named and given != own:
            raise UserError(
                f"{option} {given}: the adapter in {printable(str(adapter.folder))} was made with {own}, and "
                f"is trained on as it is; leave {option} out"
            )
    return msgspec.structs.replace(
        config,
        lora_rank=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_target_modules=adapter.targets or config.lora_target_modules,
    )


@dataclass(frozen=True)
class Kept:
    """What the folder says in which a run keeps the adapter that it began with: of which base it is."""

    base: str
    revision: str | None


def kept_beginning(config: RunConfig) -> Kept | None:
    """Of the run in `config.output_dir`, or the one that is gone on from; None where there is none."""
    found = (kept_in(home.reference_adapter, config.model) for home in _homes(config))
    return next((kept for kept in found if kept is not None), None)


def base_is_kept(config: RunConfig, model: str) -> bool:
    """Whether one of these runs has a whole copy of the base `model`."""
    folders = (home.base_model for home in _homes(config))
    return any(read_json(x / MARKER).get("model") == model and not missing_part(x) for x in folders)


def kept_in(folder: Path, model: str | None) -> Kept | None:
    """What a folder says; None where it holds no adapter, or another one than `model`."""
    marker = read_json(folder / MARKER)
    if "base" not in marker or marker.get("model") != model:
        return None
    revision = marker.get("revision")
    return Kept(str(marker["base"]), str(revision) if revision else None)


def _homes(config: RunConfig) -> list[RunDirectory]:
    resumed = config.resume_from_checkpoint
    names = (config.output_dir, Path(resumed).parent if resumed else None)
    return [RunDirectory.at(name) for name in names if name]


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
