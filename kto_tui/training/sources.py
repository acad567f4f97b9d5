"""Where a model's files come from: the run's own copy, a folder or file, the hub's cache, the hub, a package.

What is no folder that from_pretrained reads (a GGUF file, an adapter, the built-in model) is made into one,
which the run keeps: adapters need a base that can be found again.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined]

from kto_tui.core.compatibility import same_source
from kto_tui.core.config import TINY_MODEL, RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.core.manifest import describe
from kto_tui.models.chain import Chain, follow
from kto_tui.models.check import check_on_hub, out_of_reach
from kto_tui.models.folder import MARKER, check_folder, check_settings, gguf_file, missing_part, read_json
from kto_tui.models.gguf_positions import NotUnderstoodError, scaled_positions
from kto_tui.models.hub import SMALL_FILES, HubUnreachableError, cached_model, commit_of, explained
from kto_tui.models.packages import PACKAGES
from kto_tui.training.copying import copy_folder, into_run, mark
from kto_tui.training.download import progress_bar

BASE_MODEL_NAME = "base_model"
_HUB, _HUB_CACHE = "hub", "hub cache"
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
        """The commit of a model that was found by its name on the hub."""
        return commit_of(self.folder) if self.label in (_HUB, _HUB_CACHE) else None


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
    found = _find(follow(model, config.model_revision), RunDirectory(output).staging, report)
    if found.folder is not None:
        return Source(found.folder, found.label)
    assert found.build is not None
    return _keep(output, model, found.label, found.build)


def _find(chain: Chain, scratch: Path, report: Report) -> Found:
    """The model at the end of the chain, with the adapters on it. What has to be made on the way is made in
    `scratch`. Raises UserError.
    """
    try:
        found = _find_end(chain, report)
    except UserError as error:
        raise chain.blaming(error) from error
    for adapter, base in zip(reversed(chain.adapters), reversed(chain.named), strict=True):
        scratch = scratch / "below"  # Nothing of what is below may lie in the way.
        report(0, 0, f"merging the adapter {adapter.name} into {base}")
        found = Found(
            f"adapter {adapter.name} merged into {base}", build=_merge(adapter, found, scratch / "bare")
        )
    return found


def _find_end(chain: Chain, report: Report) -> Found:
    """The whole model, which no adapter is part of."""
    model = chain.name
    if model == TINY_MODEL:
        report(0, 0, "building the built-in model")
        return Found("built here", build=_build_tiny)
    if path := chain.path:
        check_folder(path)
        if gguf := gguf_file(path):
            report(0, 0, f"converting {gguf.name}")
            return Found(f"GGUF file {gguf.name}", build=lambda folder: _convert_gguf(gguf, folder))
        return Found("kept by its run" if chain.kept else "local folder", path)
    if cached := cached_model(model, chain.revision):
        check_settings(printable(model), cached)
        return Found(_HUB_CACHE, cached)
    try:
        return Found(_HUB, _from_hub(model, chain.revision, report))
    except HubUnreachableError as error:
        return _from_package(model, chain.revision, report, error)


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


def _from_hub(model: str, revision: str | None, report: Report) -> Path:
    """Download what training needs. Raises UserError, and HubUnreachableError where the hub does not answer.

    Asked by ourselves first, since the hub's client takes half a minute to notice that there is no network.
    """
    check_on_hub(model, revision)
    bar = progress_bar(lambda done, total: report(done, total, f"downloading {model}"))
    try:
        if revision is None or check_on_hub(model) == revision:
            # By no name but main's does the cache take note of what main is, for others that look for it.
            folder = _download(model, None, bar)
            if revision in (None, commit_of(folder)):
                return folder
        return _download(model, revision, bar)
    except (HTTPError, LocalEntryNotFoundError) as error:
        raise explained(error, model, "model") from error


def _download(model: str, revision: str | None, bar: type[Any]) -> Path:
    """The snapshot in the cache, whole. Raises UserError, and as the hub's client does.

    What its settings say against it is told before gigabytes are on their way.
    """
    settings = Path(hf_hub_download(model, "config.json", revision=revision, tqdm_class=bar))
    check_settings(printable(model), settings.parent)
    for weights in _WEIGHTS:
        wanted = [*SMALL_FILES, weights]
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=wanted, tqdm_class=bar))
        missing = missing_part(folder)
        if not missing:
            return folder
    raise UserError(f"--model {model}: the repository has {missing}; expected a transformers causal model")


def _from_package(model: str, revision: str | None, report: Report, reason: HubUnreachableError) -> Found:
    package = None if revision else PACKAGES.get(model)  # It holds one revision, which nobody can name.
    gguf = package.path() if package else None
    if package is None or gguf is None:
        raise out_of_reach(model, reason, revision) from None
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
            with into_run("a copy of the base model", output):
                copy_folder(theirs, own)
    marker = read_json(own / MARKER)
    if not same_source(marker.get("model"), config.model) or missing_part(own):
        return None
    return Source(own, str(marker.get("source")), own_copy=True)


def _keep(output: Path, model: str, label: str, build: Callable[[Path], None]) -> Source:
    """Build the base in the run's folder; the marker comes last, and says that it is whole."""
    folder = output / BASE_MODEL_NAME
    shutil.rmtree(folder, ignore_errors=True)
    with into_run("a copy of the base model", output):
        build(folder)
        describe(folder)  # Reads each file back and has it reach the disk.
        mark(folder, {"model": model, "source": label})
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
    from transformers import AutoConfig, AutoTokenizer, GgufConfig

    from kto_tui.training.loading import whole_model

    who = f"--model {printable(str(gguf))}"
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        settings = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
        _scale_positions(who, gguf, settings.get_text_config())
        model = whole_model(
            who,
            gguf.parent,
            gguf_file=gguf.name,
            config=settings,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
    except (OSError, MemoryError, UserError):
        raise
    except Exception as error:  # The tokenizers library has no narrower one.
        raise UserError(f"{who}: it cannot be read; {one_line(error)[:300]}") from error
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _scale_positions(who: str, gguf: Path, settings: Any) -> None:
    """Have the settings scale positions as the file does, which transformers leaves out as it reads it.

    Raises UserError for what has no exact counterpart there.
    """
    read = getattr(settings, "rope_parameters", None) or {}
    kinds = [
        read,
        *(part for part in read.values() if isinstance(part, dict)),
    ]  # Some have one a kind of layer.
    if any(part.get("rope_type", "default") != "default" for part in kinds):
        return
    try:
        scaled = scaled_positions(gguf)
        if scaled and len(kinds) > 1:
            settings.rope_parameters = _on_long_layers(settings.model_type, read, scaled)
            return
        if scaled and (rotated := _rotated(settings, read)) != _rotated_by(scaled, rotated):
            raise NotUnderstoodError(f"{_rotated_by(scaled, rotated)} of {rotated} dimensions rotated")
    except NotUnderstoodError as error:
        raise UserError(
            f"{who}: its positions are scaled in a way that transformers does not know from GGUF "
            f"({printable(str(error))}); give the model's safetensors"
        ) from error
    if scaled:
        settings.rope_parameters = {**read, **scaled}
        if "long_factor" in scaled:  # Phi-3 has it there, too.
            settings.original_max_position_embeddings = scaled["original_max_position_embeddings"]


def _on_long_layers(kind: str, read: dict[str, Any], scaled: dict[str, Any]) -> dict[str, Any]:
    """Gemma 3 scales those layers alone that look at everything. Raises NotUnderstoodError for any other."""
    if kind != "gemma3_text" or scaled["rope_type"] != "linear":
        raise NotUnderstoodError(f"rope scaling of type {scaled['rope_type']}, by kinds of layers")
    return {**read, "full_attention": {**read["full_attention"], **scaled}}


def _rotated(settings: Any, read: dict[str, Any]) -> int:
    """How many dimensions of a head positions turn."""
    head = getattr(settings, "head_dim", None) or settings.hidden_size // settings.num_attention_heads
    return int(head * read.get("partial_rotary_factor", 1.0))


def _rotated_by(scaled: dict[str, Any], otherwise: int) -> int:
    """The same, by the number of factors."""
    return 2 * len(scaled["long_factor"]) if "long_factor" in scaled else otherwise
