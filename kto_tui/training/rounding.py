"""What is left of an adapter's change once the weights that hold it are stored in fewer bits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor

from kto_tui.training.loading import ADAPTER

Store = Callable[[Tensor], Tensor]

_ROWS = 64  # Of each layer: packing goes by row, or by parts of one.


@dataclass(frozen=True)
class Rounded:
    """`kept`: the share of the change that is still there, along the change itself; 1 is all, 0 nothing.

    `off`: how far the stored weights are from those with the whole change, in sizes of the change.
    """

    kept: float
    off: float


def in_dtype(dtype: torch.dtype) -> Store:
    """Weights as they come back from a dtype."""
    return lambda weight: weight.to(dtype).float()


def packed_stores() -> dict[str, Store]:
    """Weights as they come back from the ways of packing that can be tried here, by name."""
    return {"int8": _int8, **({"nf4": _nf4} if find_spec("bitsandbytes") else {})}


@torch.no_grad()
def rounded(tuned: PeftModel, store: Store, *, sampled: bool = False) -> Rounded | None:
    """Measured over all adapted weights, or some rows of each (`sampled`); None if nothing was changed."""
    held = missed = size = 0.0
    for weight, change in _changes(tuned, sampled):
        wanted = weight + change
        got = store(wanted)
        held += float(((got - store(weight)) * change).sum(dtype=torch.float64))
        missed += float((got - wanted).square().sum(dtype=torch.float64))
        size += float(change.square().sum(dtype=torch.float64))
    return Rounded(min(1.0, max(0.0, held / size)), (missed / size) ** 0.5) if size else None


def _changes(tuned: PeftModel, sampled: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Each adapted weight and its change, in float32. A sample is of linear layers alone."""
    for module in tuned.modules():
        if not isinstance(module, LoraLayer) or (sampled and isinstance(module, ParamWrapper)):
            continue
        weight = module.get_param() if isinstance(module, ParamWrapper) else module.get_base_layer().weight
        assert isinstance(weight, Tensor)
        change = module.get_delta_weight(ADAPTER)
        step = max(1, weight.shape[0] // _ROWS) if sampled else 1
        yield weight[::step].float(), change[::step].float()


def _int8(weight: Tensor) -> Tensor:
    """A scale for each row, (out, 1), as LLM.int8 has it (arXiv 2208.07339)."""
    scale = weight.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127
    return (weight / scale).round() * scale


def _nf4(weight: Tensor) -> Tensor:
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    packed, state = quantize_4bit(weight.contiguous(), quant_type="nf4", compress_statistics=True)
    back = dequantize_4bit(packed, state)
    assert isinstance(back, Tensor)
    return back.float()
