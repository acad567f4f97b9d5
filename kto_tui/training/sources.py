"""Where a model's files come from: the run's own copy, a folder or file, the hub's cache, the hub, a package.

What is no folder that from_pretrained reads (a GGUF file, an adapter, the built-in model) is made into one,
which the run keeps: adapters need a base that can be found again.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined]

from kto_tui.core.config import TINY_MODEL, RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.core.manifest import describe
from kto_tui.models.check import adapter_without_base, check_depth, check_on_hub, local_folder, out_of_reach
from kto_tui.models.folder import MARKER, adapted_base, gguf_file, kept_base, missing_part, read_json
from kto_tui.models.gguf_header import scaled_positions
from kto_tui.models.hub import SMALL_FILES, HubUnreachableError, cached_model, explained
from kto_tui.models.packages import PACKAGES
from kto_tui.training.download import progress_bar
from kto_tui.training.space import writing

BASE_MODEL_NAME = "base_model"
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

    @property
    def revision(self) -> str | None:
        """The commit of a snapshot of the hub."""
        return self.folder.name if self.folder.parent.name == "snapshots" else None


@dataclass(frozen=True)
class Found:
    """Where a model's files are, or how a folder of them is made; and where they come from, in words."""

    label: str
    folder: Path | None = None
    build: Callable[[Path], None] | None = None


def locate(config: RunConfig, report: Report) -> Source:
    """The files of `config.model`, downloaded, converted or built if need be.

    `report(done, total, detail)` hears of downloads, in bytes. Raises UserError, which says what to do.
    """
    assert config.model is not None
    assert config.output_dir is not None
    model, output = config.model, Path(config.output_dir)
    if kept := _own_copy(config, output):
        return kept
    found = _find(model, RunDirectory(output).staging, report)
    if found.folder is not None:
        return Source(found.folder, found.label)
    assert found.build is not None
    return _keep(output, model, found.label, found.build)


def _find(model: str, scratch: Path, report: Report, depth: int = 0) -> Found:
    """The model of that name. What has to be made on the way to it is made in `scratch`. Raises UserError.

    `depth`: how many adapters it is the base of.
    """
    if model == TINY_MODEL:
        report(0, 0, "building the built-in model")
        return Found("built here", build=_build_tiny)
    if path := local_folder(model):
        return _from_folder(path, scratch, report, depth)
    if cached := cached_model(model):
        return Found("hub cache", cached)
    try:
        return Found("hub", _from_hub(model, report))
    except HubUnreachableError as error:
        return _from_package(model, report, error)


def _from_folder(path: Path, scratch: Path, report: Report, depth: int) -> Found:
    if gguf := gguf_file(path):
        report(0, 0, f"converting {gguf.name}")
        return Found(f"GGUF file {gguf.name}", build=lambda folder: _convert_gguf(gguf, folder))
    if (base := adapted_base(path)) is None:
        return Found("local folder", path)
    check_depth(path, depth)
    below = Found("kept by its run", kept) if (kept := kept_base(path, base)) else None
    try:
        below = below or _find(base, scratch / "below", report, depth + 1)
    except UserError as error:
        raise adapter_without_base(path, base, error) from error
    report(0, 0, f"merging the adapter {path.name} into {base}")
    return Found(f"adapter {path.name} merged into {base}", build=_merge(path, below, scratch / "bare"))


def _merge(adapter: Path, below: Found, bare: Path) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        from kto_tui.training.adapters import merge_into

        shutil.rmtree(bare, ignore_errors=True)
        try:
            if below.build is not None:
                below.build(bare)
            merge_into(folder, adapter, below.folder or bare)
        finally:
            shutil.rmtree(bare, ignore_errors=True)

    return build


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


def _from_package(model: str, report: Report, reason: HubUnreachableError) -> Found:
    package = PACKAGES.get(model)
    gguf = package.path() if package else None
    if package is None or gguf is None:
        raise out_of_reach(model, reason) from None
    report(0, 0, f"converting the model inside {package.label}")
    return Found(package.label, build=lambda folder: _convert_gguf(gguf, folder))


def _own_copy(config: RunConfig, output: Path) -> Source | None:
    """The base that an earlier sitting of this run put beside its checkpoints.

    A resume uses it even where the hub could be reached now: the adapter was trained on this one.
    """
    own = output / BASE_MODEL_NAME
    if config.resume_from_checkpoint and not (own / MARKER).is_file():
        theirs = Path(config.resume_from_checkpoint).parent / BASE_MODEL_NAME
        if (theirs / MARKER).is_file() and theirs.parent.resolve() != output.resolve():
            _copy(theirs, own)
    marker = read_json(own / MARKER)
    if marker.get("model") != config.model or missing_part(own):
        return None
    return Source(own, str(marker.get("source")), own_copy=True)


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
            (folder / MARKER).write_text(json.dumps({"model": model, "source": label}), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output-dir {output}: {error}; make room, or choose another folder") from error
    return Source(folder, label, own_copy=True)


def _build_tiny(folder: Path) -> None:
    from kto_tui.training.tiny import build_into

    build_into(folder)


def _convert_gguf(gguf: Path, folder: Path) -> None:
    """The model inside a GGUF file as an ordinary folder in bfloat16, its own dtype before it was packed.

    Raises UserError for an architecture that transformers does not read from GGUF, and for what it would
    read otherwise than it is meant.
    """
    import torch
    from transformers import AutoTokenizer, GgufConfig

    from kto_tui.training.loading import whole_model

    who = f"--model {printable(str(gguf))}"
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = whole_model(
            who,
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        _require_positions(who, gguf, model.config.get_text_config())
    except (OSError, MemoryError, UserError):
        raise
    except Exception as error:  # The tokenizers library has no narrower one.
        raise UserError(f"{who}: it cannot be read; {one_line(error)[:300]}") from error
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _require_positions(who: str, gguf: Path, settings: Any) -> None:
    """Refuse a file whose positions are scaled in a way that was not read. Raises UserError."""
    read = getattr(settings, "rope_parameters", None) or {}
    parts = [
        read,
        *(part for part in read.values() if isinstance(part, dict)),
    ]  # Some have one a kind of layer.
    plain = all(part.get("rope_type", "default") == "default" for part in parts)
    if plain and (scaled := scaled_positions(gguf)):
        raise UserError(
            f"{who}: its positions are scaled ({printable(scaled)}), which transformers does not read from "
            "GGUF; give the model's safetensors"
        )
