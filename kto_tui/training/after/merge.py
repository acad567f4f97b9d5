"""Base and adapter as one model in plain weights, checked after it was written."""

import gc
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.core.manifest import describe, sync_folder
from kto_tui.core.sizes import format_size
from kto_tui.models.merged import mark_merged
from kto_tui.training.after.base import saved_tokenizer
from kto_tui.training.after.pipe import Pipe
from kto_tui.training.card import merged_card
from kto_tui.training.dequantized import plain_model, require_unpackable
from kto_tui.training.loading import attached, whole_model
from kto_tui.training.rounding import in_dtype, rounded
from kto_tui.training.sources import Source, locate
from kto_tui.training.space import free_bytes, writing

# How far the logits may be off, of their own spread: what rounding weights to a dtype costs, and some more.
_TOLERANCE = {torch.float32: 0.001, torch.float16: 0.02, torch.bfloat16: 0.1}
_PROBES = 16
_MARGIN = 1.05
# Below this share of what the training changed, the merged model is rather the base than the tuned one.
_KEPT = 0.5


def merge(pipe: Pipe, config: RunConfig, request: Mapping[str, Any], training: str) -> tuple[Path, str]:
    """Write the whole model to `request["to"]`, which must not exist yet. Returns the folder and its dtype.

    The base is loaded without quantization, in its own dtype or the one asked for. `training`: what its card
    says of the run. Raises UserError.
    """
    target, adapter = Path(request["to"]), Path(request["adapter"])
    source = locate(config, pipe.progress)
    dtype = _chosen_dtype(source, request.get("dtype"))
    needed = _require_space(source, dtype, target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f"{target.name}.unfinished-", dir=target.parent))
    pipe.leftovers.append(staged)
    try:
        with writing("the merged model", target.parent):
            kept, off = _merge_into(staged, pipe, source, adapter, dtype)
            name = str(dtype).removeprefix("torch.")
            mark_merged(staged, adapter, request["config"].get("model"), name)
            folder = str(target.resolve())
            card = merged_card(config, training, title=target.resolve().name, folder=folder, dtype=name)
            (staged / "README.md").write_text(card, encoding="utf-8")
            describe(staged)  # Has each file reach the disk.
            _put_in_place(staged, target)
    except OSError as error:
        raise UserError(f"--to {printable(str(target))}: {error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        pipe.leftovers.remove(staged)
    lost = kept is not None and kept < _KEPT
    pipe.say(
        "merged",
        folder=str(target),
        dtype=name,
        bytes=needed,
        kept=kept,
        lost=lost,
        off=off,
        probes=_PROBES,
    )
    return target, name


def _put_in_place(staged: Path, target: Path) -> None:
    """Raises UserError if something is there by now: a rename would take an empty folder's place."""
    if os.path.lexists(target):
        raise UserError(f"--to {printable(str(target))}: it is there by now; choose another folder")
    umask = os.umask(0o077)
    os.umask(umask)
    staged.chmod(0o777 & ~umask)  # A temporary folder is its owner's alone, and so are safetensors' files.
    for path in staged.iterdir():
        path.chmod(0o666 & ~umask)
    staged.rename(target)
    sync_folder(target.parent)


def _chosen_dtype(source: Source, asked: str | None) -> torch.dtype:
    """The dtype asked for, or the base's own. Raises UserError for a base that came packed for good."""
    shipped = AutoConfig.from_pretrained(source.folder, local_files_only=True)
    require_unpackable("--merge", source.folder)
    if asked:
        chosen = getattr(torch, asked)
        assert isinstance(chosen, torch.dtype)
        return chosen
    own = shipped.dtype
    return own if own in _TOLERANCE else torch.float32


def _require_space(source: Source, dtype: torch.dtype, folder: Path) -> int:
    """The bytes that the weights will take. Raises UserError if they do not fit on the disk."""
    shipped = AutoConfig.from_pretrained(source.folder, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shipped)  # type: ignore[no-untyped-call]
    needed = int(model.num_parameters()) * dtype.itemsize
    existing = next(part for part in (folder, *folder.parents) if part.is_dir())
    free = free_bytes(existing)
    if free < _MARGIN * needed:
        raise UserError(
            f"--to {printable(str(folder))}: the merged model needs {format_size(needed)}, and "
            f"{format_size(free)} are free there; make room, or choose another folder with --to"
        )
    return needed


def _merge_into(
    folder: Path, pipe: Pipe, source: Source, adapter: Path, dtype: torch.dtype
) -> tuple[float | None, float]:
    """Write the merged model to the folder, load it again and compare.

    Returns the share of the change that the dtype holds, None where nothing was changed, and by how much the
    logits are off, as a share of their spread. Raises UserError where that is too much.
    """
    pipe.progress(0, 0, f"loading the base model ({source.label}), not quantized")
    tuned = _load(source.folder, adapter, dtype)
    tokenizer = AutoTokenizer.from_pretrained(saved_tokenizer(adapter, source.folder), local_files_only=True)
    probes = _probes(tuned.get_base_model())
    pipe.progress(0, 0, "merging")
    wanted = _logits(tuned, probes)
    change = rounded(tuned, in_dtype(dtype))
    try:
        merged = tuned.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise UserError(f"{printable(str(adapter))}: it cannot be merged; {one_line(error)[:300]}") from error
    pipe.progress(0, 0, "writing")
    _save(merged, source.folder, folder)
    tokenizer.save_pretrained(folder)
    del tuned, merged
    gc.collect()
    pipe.progress(0, 0, "checking what was written")
    return change.kept if change else None, _compare(folder, probes, wanted, dtype)


def _load(base: Path, adapter: Path, dtype: torch.dtype) -> PeftModel:
    name = printable(str(adapter))
    try:
        model = plain_model(f"{name}, whose base is {printable(str(base))}", base, dtype)
    except (OSError, ValueError, ImportError, RuntimeError, KeyError, SafetensorError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name}: its base does not load; {one_line(error)[:300]}") from error
    return attached(f"{name}: the adapter", model, adapter)


def _save(model: PreTrainedModel, base: Path, folder: Path) -> None:
    """Weights and configuration; the base's generation settings as they are, valid or not."""
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    for name in ("generation_config.json", "tokenizer.model"):
        with suppress(FileNotFoundError):
            shutil.copyfile(base / name, folder / name)


def _probes(model: PreTrainedModel) -> Tensor:
    """(1, tokens) ids from all over the vocabulary."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    size = weight.shape[0]
    return torch.linspace(0, size - 1, _PROBES + 2, dtype=torch.float64)[1:-1].long().unsqueeze(0)


@torch.no_grad()
def _logits(model: Any, probes: Tensor) -> Tensor:
    """(tokens, vocabulary) in float32."""
    logits = model(input_ids=probes, use_cache=False).logits
    assert isinstance(logits, Tensor)
    return logits[0].float()


def _compare(folder: Path, probes: Tensor, wanted: Tensor, dtype: torch.dtype) -> float:
    """By what share of their spread the logits of the model in the folder are off.

    Raises UserError for more than its dtype explains.
    """
    model = whole_model(f"--merge: {printable(str(folder))}", folder, dtype="auto")
    off = float((_logits(model, probes) - wanted).square().mean().sqrt()) / (float(wanted.std()) or 1.0)
    if model.dtype != dtype or not off <= _TOLERANCE[dtype]:  # nan is no better.
        raise UserError(
            f"--merge: what was written does not compute what base and adapter do (its logits are off by "
            f"{off:.1%} of their spread, in {model.dtype}), and was deleted; try --dtype float32"
        )
    return off
