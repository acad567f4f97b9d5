"""Bytes of the frozen weights, of the adapters, and of what trains them."""

from dataclasses import dataclass

from kto_tui.core.config import RunConfig
from kto_tui.sizing.adapters import Adapters
from kto_tui.sizing.shape import ModelShape

# As training/model.py and training/arguments.py choose them.
NF4_FROM_PARAMETERS = 2.5e9
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# 4 bits; an 8-bit scale for 64 weights; a 32-bit scale for 256 of those: QLoRA, arXiv 2305.14314, section 3.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
# Two 8-bit moments, each with a 32-bit scale for 256 of them: arXiv 2110.02861; below this they are 32-bit.
_LEAST_8BIT = 4096
_ADAMW_8BIT = 2 + 2 * 4 / 256
_ADAMW = 8
FLOAT32 = 4


@dataclass(frozen=True)
class Storage:
    """How a run stores and computes, `auto` resolved. `experts`: those of a mixture are packed, too."""

    quantization: str
    dtype: str
    optimizer: str
    experts: bool = False

    @property
    def compute(self) -> int:
        """Bytes of a number in the pass."""
        return _BYTES[self.dtype]


def resolved(config: RunConfig, shape: ModelShape, kind: str) -> Storage:
    """What `auto` means for this model on this kind of device: cuda, old_cuda (without bfloat16) or cpu."""
    cuda = kind != "cpu"
    dtype = config.dtype
    if dtype == "auto":
        dtype = "bfloat16" if kind == "cuda" else "float32"
    optimizer = ("adamw_8bit" if cuda else "adamw_torch") if config.optim == "auto" else config.optim
    quantization, adapted = _quantization(config, shape, cuda), _adapts_experts(config, shape)
    packs = quantization == "nf4" and shape.stays_packed is None and not adapted and shape.experts > 0
    return Storage(quantization, dtype, optimizer, packs)


def _adapts_experts(config: RunConfig, shape: ModelShape) -> bool:
    adapters = Adapters.of(config, shape)
    return any(adapters.expert_parameters(layer) for layer, _ in shape.layers)


def _quantization(config: RunConfig, shape: ModelShape, cuda: bool) -> str:
    if shape.stays_packed:
        return shape.stays_packed[0]
    if shape.shipped and (config.quantization == "int8" or _adapts_experts(config, shape)):
        return "none"
    if config.quantization != "auto":
        return config.quantization
    return "nf4" if cuda and shape.parameters > NF4_FROM_PARAMETERS else "none"


def linear_bytes(shape: ModelShape, storage: Storage) -> int:
    """The linear layers but the head, which is what a quantization packs."""
    if shape.stays_packed:
        return int(shape.linear_weights * shape.stays_packed[1] / 8)
    if storage.quantization == "nf4":
        return int(shape.linear_weights * NF4_BYTES)
    if storage.quantization == "int8":
        scales = sum(linear.outputs * n for layer, n in shape.layers for linear in layer.linears)
        return shape.linear_weights + FLOAT32 * scales
    return shape.linear_weights * storage.compute


def expert_bytes(shape: ModelShape, storage: Storage) -> int:
    """NF4 packs their weights, but not their biases and routers, unless they get adapters; int8 packs none.

    Other methods, which a model came with, pack them.
    """
    if shape.stays_packed and shape.stays_packed[0] not in ("nf4", "int8"):
        return int(shape.experts * shape.stays_packed[1] / 8)
    packed = shape.expert_weights if storage.experts else 0
    return int(packed * NF4_BYTES) + (shape.experts - packed) * storage.compute


def plain_bytes(shape: ModelShape, storage: Storage) -> int:
    """Embeddings, head, norms and biases, which nothing quantizes."""
    rest = shape.parameters - shape.linear_weights - shape.experts
    return rest * storage.compute


def moment_bytes(adapters: Adapters, shape: ModelShape, optimizer: str) -> int:
    """AdamW's moments of all adapters."""
    if optimizer != "adamw_8bit":
        return _ADAMW * adapters.parameters(shape)
    sizes = adapters.matrices(shape)
    return int(sum(n * size * (_ADAMW if size < _LEAST_8BIT else _ADAMW_8BIT) for size, n in sizes))
