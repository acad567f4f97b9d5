"""Whether a local folder holds a model that can be loaded."""

import json
from pathlib import Path

from kto_tui.core.errors import UserError

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "*.tiktoken")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def check_folder(folder: Path, name: str) -> None:
    """Refuse a folder that is none, holds only an adapter, or lacks a part. Raises UserError."""
    if not folder.is_dir():
        raise UserError(f"--model {name} is a file; expected the folder that holds the model")
    missing = _missing_part(folder)
    if missing and (folder / "adapter_config.json").is_file():
        raise UserError(f"--model {name} holds a LoRA adapter; expected the whole model that it was made for")
    if missing:
        raise UserError(f"--model {name}: the folder has {missing}; expected what save_pretrained writes")


def _missing_part(folder: Path) -> str | None:
    """What the folder lacks, such as "no config.json"; None when it is whole."""
    if not (folder / "config.json").is_file():
        return "no config.json"
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZERS):
        return "no tokenizer files"
    for weights in _WEIGHTS:
        if (folder / weights).is_file():
            return None
        index = folder / f"{weights}.index.json"
        if index.is_file():
            return _missing_shard(folder, index)
    if any(folder.glob("*.gguf")):
        return "its weights as GGUF alone, which cannot be trained from"
    return "no weights (model.safetensors)"


def _missing_shard(folder: Path, index: Path) -> str | None:
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"a broken {index.name}"
    return next((f"no {shard}" for shard in shards if not (folder / shard).is_file()), None)
