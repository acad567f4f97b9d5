"""What makes a model folder whole."""

import json
from pathlib import Path

from kto_tui.core.errors import UserError, printable

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "*.tiktoken")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def check_folder(folder: Path) -> None:
    """Refuse a folder that is none, holds only an adapter, or lacks a part. Raises UserError."""
    name = printable(str(folder))
    if not folder.is_dir():
        raise UserError(f"--model {name} is a file; expected the folder that holds the model")
    missing = missing_part(folder)
    if missing and (folder / "adapter_config.json").is_file():
        raise UserError(f"--model {name} holds a LoRA adapter; expected the whole model that it was made for")
    if missing:
        raise UserError(f"--model {name}: the folder has {missing}; expected what save_pretrained writes")


def missing_part(folder: Path) -> str | None:
    """What a model folder lacks, such as "no config.json"; None when it is whole."""
    weights = _missing_weights(folder)
    if weights and any(folder.glob("*.gguf")):
        return "its weights as GGUF alone, which cannot be trained from"
    if not (folder / "config.json").is_file():
        return "no config.json"
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZERS):
        return "no tokenizer files"
    return weights


def _missing_weights(folder: Path) -> str | None:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return None
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _missing_shard(folder, index)
    return "no weights (model.safetensors)"


def _missing_shard(folder: Path, index: Path) -> str | None:
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        lost = sorted(shard for shard in shards if not (folder / shard).is_file())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return f"a broken {index.name}"
    if not shards:
        return f"a broken {index.name}"
    return f"no {printable(lost[0])}" if lost else None
