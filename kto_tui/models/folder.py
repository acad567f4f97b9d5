"""What makes a model folder whole, and what kind of one it is."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kto_tui.core.compatibility import ADAPTER_CONFIG, KEPT
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError, printable
from kto_tui.core.setting import shown
from kto_tui.models.packages import packing_problem

GGUF_READER = "gguf"
DEEPEST = 4  # Adapters of adapters of …
MARKER = KEPT
_GGUF_MAGIC = b"GGUF"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "*.tiktoken")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def check_folder(folder: Path) -> None:
    """Refuse what is neither a model's folder, nor an adapter's, nor a GGUF file. Raises UserError."""
    name = printable(str(folder))
    if gguf_file(folder):
        return
    if not folder.is_dir():
        raise UserError(f"--model {name} is a file; expected a folder that holds a model, or a GGUF file")
    if adapted_base(folder):
        return
    if missing := missing_part(folder):
        if (run := RunDirectory(folder)).holds_run():
            final = printable(str(run.final_model))
            raise UserError(f"--model {name}: holds a run; give {final}, or one of its checkpoints")
        raise UserError(f"--model {name}: the folder has {missing}; expected what save_pretrained writes")
    check_settings(name, folder)


def check_settings(name: str, folder: Path) -> None:
    """Refuse, by its config.json, a model that cannot be trained here. Raises UserError."""
    if read_json(folder / "config.json").get("is_encoder_decoder") is True:
        raise UserError(
            f"--model {name}: an encoder-decoder; expected a model that continues a text (causal)"
        )
    if (method := packed_as(folder)) and (problem := packing_problem(method)):
        raise UserError(f"--model {name}: packed as {printable(method)}, {problem}")


def gguf_file(path: Path) -> Path | None:
    """The GGUF file that is meant by the name of a file, or of a folder with no other weights.

    Raises UserError for several of them, for one in pieces, for a damaged one, and where nothing reads it.
    """
    if path.suffix == ".gguf" and path.is_file():
        files = [path]
    else:
        whole = _missing_weights(path) is None or (path / ADAPTER_CONFIG).is_file()
        files = [] if whole else sorted(path.glob("*.gguf"))
    if not files:
        return None
    name, first = printable(str(path)), files[0]
    if len(files) > 1:
        listed = ", ".join(printable(file.name) for file in files[:4])
        raise UserError(f"--model {name} holds {len(files)} GGUF files; name one of them: {listed}")
    if "-of-0" in first.name:
        raise UserError(
            f"--model {printable(str(first))}: a GGUF file in pieces; join it with llama-gguf-split"
        )
    with first.open("rb") as stream:
        if stream.read(4) != _GGUF_MAGIC:
            raise UserError(f"--model {printable(str(first))}: no GGUF file, whatever its name says")
    if find_spec(GGUF_READER) is None:
        raise UserError(f"--model {printable(str(first))}: reading GGUF needs a package; pip install gguf")
    return first


def adapted_base(folder: Path) -> str | None:
    """The base that an adapter's folder names; None for folders that hold a whole model, or no adapter.

    Raises UserError for an adapter that cannot be made part of its base.
    """
    path = folder / ADAPTER_CONFIG
    if not path.is_file() or missing_part(folder) is None:
        return None
    name, adapter = printable(str(folder)), read_json(path)
    base = adapter.get("base_model_name_or_path")
    if not isinstance(base, str) or not base.strip():
        raise UserError(
            f"--model {name} holds an adapter, and its {ADAPTER_CONFIG} names no base; name it there"
        )
    if adapter.get("peft_type") != "LORA":
        kind = shown(adapter.get("peft_type"))
        raise UserError(f"--model {name} holds an adapter of kind {kind}; expected LORA, or a whole model")
    if not any((folder / weights).is_file() for weights in (ADAPTER_WEIGHTS, "adapter_model.bin")):
        raise UserError(f"--model {name} holds an adapter without {ADAPTER_WEIGHTS}; copy it there")
    return base


def adapted_revision(folder: Path) -> str | None:
    """The commit, branch or tag of its base on the hub that an adapter's folder names, if it names one."""
    revision = read_json(folder / ADAPTER_CONFIG).get("revision")
    return revision if isinstance(revision, str) and revision else None


def kept_base(adapter: Path, base: str) -> Path | None:
    """The copy of the base that a run of ours has put beside its adapters, where this is one of those.

    Such a base is found by no name elsewhere, or only at a cost; the run may have been moved since.
    """
    beside = RunDirectory(adapter.resolve().parent).base_model
    if not (beside / MARKER).is_file() or missing_part(beside):
        return None
    same = read_json(beside / MARKER).get("model") == base or Path(base).name == beside.name
    return beside if same else None


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder brings a tokenizer of its own."""
    return any(any(folder.glob(pattern)) for pattern in _TOKENIZERS)


def packed_as(folder: Path) -> str | None:
    """How the weights of a model's folder are packed, such as gptq; None where they are plain."""
    packing = read_json(folder / "config.json").get("quantization_config")
    if not isinstance(packing, dict):
        return None
    if packing.get("load_in_4bit") or packing.get("load_in_8bit"):
        return "bitsandbytes"  # Which older ones say in no other way.
    return str(packing.get("quant_method", "an unknown way"))


def missing_part(folder: Path) -> str | None:
    """What a model folder lacks, such as "no config.json"; None when it is whole."""
    if not (folder / "config.json").is_file():
        return "no config.json"
    if not has_tokenizer(folder):
        return "no tokenizer files"
    return _missing_weights(folder)


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON file; empty for one that is none, which whoever loads it tells better."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


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
