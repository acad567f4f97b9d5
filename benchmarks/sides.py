"""What the sides of a comparison have in common: what each is told, and what each answers."""

import msgspec

from benchmarks.floor import Rate, measured_rate
from benchmarks.shapes import Shape

LORA_RANK = 16
LORA_ALPHA = 32


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """One training, the same for every side.

    `dataset` is a JSONL file of prompt, completion and label of which no side drops a row; `output` a
    folder that this training has for itself. `precompute` is for TRL alone, `reference_cache` for us.
    """

    model: str
    shape: Shape
    dataset: str
    rows: int
    output: str
    steps: int
    epochs: float
    batch_size: int
    accumulation: int
    max_length: int
    learning_rate: float
    seed: int
    device: str
    dtype: str
    quantization: str
    memory_limit_gib: float | None
    precompute: bool = False
    reference_cache: str = "off"


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """What one training took.

    `step_seconds` is from the beginning of training to the end of the last optimizer step, nothing else
    in it; `precompute_seconds` what was computed on the reference before; `process_seconds` all of the
    process's life up to the end of training: imports, loading, tokenizing, saving. Peaks are resident
    memory, or, on CUDA, what torch had given out (`peak_bytes`) and had taken of the device
    (`reserved_bytes`). `flops_per_second` is the machine's matrix rate right after it.
    """

    steps: int
    step_seconds: float
    precompute_seconds: float = 0.0
    process_seconds: float
    peak_bytes: int
    reserved_bytes: int = 0
    flops_per_second: float


def limit_memory(order: Training) -> None:
    """Let this process have so much of the GPU's memory and no more."""
    if order.memory_limit_gib is None:
        return
    import torch

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, order.memory_limit_gib * 2**30 / total))


def settle(device: str) -> None:
    """Wait until the GPU has done what it was told to."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def concluded(
    order: Training, *, steps: int, step_seconds: float, precompute_seconds: float = 0.0
) -> Trained:
    """The answer of a side whose training has just ended."""
    import torch

    from benchmarks.child import peak_resident_bytes, process_seconds

    cuda = order.device == "cuda"
    alive = process_seconds()
    peak = torch.cuda.max_memory_allocated() if cuda else peak_resident_bytes()
    reserved = torch.cuda.max_memory_reserved() if cuda else 0
    return Trained(
        steps=steps,
        step_seconds=step_seconds,
        precompute_seconds=precompute_seconds,
        process_seconds=alive,
        peak_bytes=peak,
        reserved_bytes=reserved,
        flops_per_second=measured_rate(Rate(shape=order.shape, device=order.device, dtype=order.dtype)),
    )
