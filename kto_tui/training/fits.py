"""Whether a run will fit, said before gigabytes are loaded."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from transformers import PreTrainedTokenizerBase

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.core.events import AlertRaised
from kto_tui.core.presets import load_preset
from kto_tui.models.kept import kept_beginning
from kto_tui.sizing.fitting import advice, in_gib, planned
from kto_tui.sizing.lengths import Lengths
from kto_tui.sizing.memory import Kind
from kto_tui.sizing.shape import ModelShape, UnknownShape
from kto_tui.training.dataset import tokenize_row
from kto_tui.training.spool import RowSpool

_SAMPLES = 16  # Of the longest rows.


def memory_alert(config: RunConfig, model_folder: Path, lengths: Lengths) -> AlertRaised | None:
    """A warning where the plan says that the run needs more memory than is there; None where it fits.

    None, too, for a model that no plan can be made for.
    """
    try:
        shape = ModelShape.from_config(json.loads((model_folder / "config.json").read_text(encoding="utf-8")))
        shape = replace(shape, begun=kept_beginning(config) is not None)
    except (OSError, UnknownShape, ValueError, AttributeError, RecursionError):
        return None
    kind, available = _device()
    plan = planned(shape, config, lengths, kind, available)
    if plan.total_bytes <= available:
        return None
    changes = advice(config, shape, plan, available)
    first = "; ".join(f"{each.change} (saves {in_gib(each.saved_bytes)})" for each in changes[:3])
    return AlertRaised(
        kind="memory_short",
        severity="warning",
        message=(
            f"the memory plan says {in_gib(plan.total_bytes)}, and {in_gib(available)} is there"
            f" ({plan.batch} rows of {lengths.longest:,} tokens at once)"
        ),
        advice=f"Change first: {first}." if first else "Choose a smaller model.",
    )


def longest_of(rows: RowSpool, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Lengths:
    """How long the rows are, from the tokens of those that take the most bytes."""
    sizes = rows.sizes
    most = [int(row) for row in np.argsort(sizes)[-_SAMPLES:]]
    try:
        counted = [tokenize_row(rows[row], tokenizer) for row in most]
    except UserError:  # Told, or the row left out, when all are tokenized.
        return Lengths.at_most(max_length)
    share = max((len(c) + len(p)) / int(sizes[n]) for (p, c, _), n in zip(counted, most, strict=True))
    longest = min(max_length, math.ceil(int(sizes.max()) * share))
    answer = max(len(completion) for _, completion, _ in counted)
    return Lengths(max(2, longest), max(1, min(longest, answer)), "sampled")


def batch_alert(config: RunConfig) -> AlertRaised | None:
    """Says that the micro-batch is smaller than the preset's, with the same rows a step; else None."""
    try:
        preset = load_preset(config.model_size) if config.model_size else {}
    except UserError:
        return None
    batch, accumulation = preset.get("batch_size", 0), preset.get("gradient_accumulation_steps", 1)
    rows = config.batch_size * config.gradient_accumulation_steps
    if batch <= config.batch_size or batch * accumulation != rows:
        return None
    return AlertRaised(
        kind="batch_halved",
        severity="info",
        message=(
            f"micro-batches of {config.batch_size} rows instead of the preset's {batch}, to fit the memory;"
            f" {config.gradient_accumulation_steps} of them a step"
        ),
        advice=f"A step has {rows} rows as before.",
    )


def _device() -> tuple[Kind, int]:
    """The kind of the device that this process trains on, and the bytes that are free there."""
    if not torch.cuda.is_available():
        return "cpu", int(psutil.virtual_memory().available)
    modern = torch.cuda.is_bf16_supported(including_emulation=False)
    free, _ = torch.cuda.mem_get_info()
    return ("cuda" if modern else "old_cuda"), int(free)
