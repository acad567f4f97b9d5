"""Where a model's files come from: the run's own copy, a folder, the hub's cache, the hub, or a package."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined]

from kto_tui.core.config import TINY_MODEL, RunConfig
from kto_tui.core.errors import UserError
from kto_tui.core.manifest import describe
from kto_tui.models.check import check_on_hub, local_folder, out_of_reach
from kto_tui.models.folder import missing_part
from kto_tui.models.hub import SMALL_FILES, HubUnreachableError, cached_model, explained
from kto_tui.models.packages import PACKAGES
from kto_tui.training.download import progress_bar
from kto_tui.training.space import writing

BASE_MODEL_NAME = "base_model"
_MARKER = "kto_tui_source.json"
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")

Report = Callable[[int, int, str], None]


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
    if folder := local_folder(model):
        return Source(folder, "local folder")
    if cached := cached_model(model):
        return Source(cached, "hub cache")
    try:
        return Source(_from_hub(model, report), "hub")
    except HubUnreachableError as error:
        return _from_package(model, output, report, error)


def _from_hub(model: str, report: Report) -> Path:
    """Download what training needs. Raises UserError, and HubUnreachableError where the hub does not answer.

    Asked by ourselves first, since the hub's client takes half a minute to notice that there is no network.
    """
    check_on_hub(model)
    bar = progress_bar(lambda done, total: report(done, total, f"downloading {model}"))
    try:
        for weights in _WEIGHTS:
            folder = Path(snapshot_download(model, allow_patterns=[*SMALL_FILES, weights], tqdm_class=bar))
            missing = missing_part(folder)
            if not missing:
                return folder
    except (HTTPError, LocalEntryNotFoundError) as error:
        raise explained(error, model, "model") from error
    raise UserError(f"--model {model}: the repository has {missing}; expected a transformers causal model")


def _from_package(model: str, output: Path, report: Report, reason: HubUnreachableError) -> Source:
    package = PACKAGES.get(model)
    gguf = package.path() if package else None
    if package is None or gguf is None:
        raise out_of_reach(model, reason) from None
    report(0, 0, f"converting the model inside {package.label}")
    return _keep(output, model, package.label, lambda folder: _convert_gguf(gguf, folder))


def _own_copy(config: RunConfig, output: Path) -> Source | None:
    """The base that an earlier sitting of this run put beside its checkpoints.

    A resume uses it even where the hub could be reached now: the adapter was trained on this one.
    """
    own = output / BASE_MODEL_NAME
    if config.resume_from_checkpoint and not (own / _MARKER).is_file():
        theirs = Path(config.resume_from_checkpoint).parent / BASE_MODEL_NAME
        if (theirs / _MARKER).is_file() and theirs.parent.resolve() != output.resolve():
            _copy(theirs, own)
    try:
        marker = json.loads((own / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if marker.get("model") != config.model or missing_part(own):
        return None
    return Source(own, str(marker["source"]), own_copy=True)


def _copy(theirs: Path, own: Path) -> None:
    """Copy another run's base, and put it in its place whole."""
    beside = own.with_name(f"{own.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(theirs, beside)
    describe(beside)
    beside.rename(own)


def _keep(output: Path, model: str, label: str, build: Callable[[Path], None]) -> Source:
    """Build the base in the run's folder; the marker comes last, and says that it is whole."""
    folder = output / BASE_MODEL_NAME
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with writing("a copy of the base model", output):
            build(folder)
            describe(folder)  # Reads each file back and has it reach the disk.
            (folder / _MARKER).write_text(json.dumps({"model": model, "source": label}), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output-dir {output}: {error}; make room, or choose another folder") from error
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
