"""The least that a step has to compute, and how fast this machine multiplies matrices.

Counted in floating-point operations, two for each multiply-add, and for real tokens alone: no padding,
nothing computed twice, no logits but at completion positions. What is not a matrix product (norms,
softmax, the optimizer, moving data) counts as nothing, so the floor itself cannot be reached.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import msgspec

from benchmarks.shapes import Shape

_REPEATS = 15
_TOKENS = 4096


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Which products to time: those of a model of this shape."""

    shape: Shape
    device: str
    dtype: str


def measured_rate(rate: Rate) -> float:
    """Operations a second of (tokens x width) @ (width x MLP), the median of some repeats."""
    import torch

    dtype = getattr(torch, rate.dtype)
    rows = torch.randn(_TOKENS, rate.shape.hidden, device=rate.device, dtype=dtype)
    weights = torch.randn(rate.shape.hidden, rate.shape.intermediate, device=rate.device, dtype=dtype)
    wait: Callable[[], None] = torch.cuda.synchronize if rate.device == "cuda" else lambda: None
    taken = []
    for _ in range(_REPEATS):
        wait()
        begun = time.perf_counter()
        rows @ weights
        wait()
        taken.append(time.perf_counter() - begun)
    return 2 * _TOKENS * rate.shape.hidden * rate.shape.intermediate / statistics.median(taken)


class Lengths(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a row as it is trained on: its prompt, its answer, and its partner's answer for z."""

    prompt: int
    answer: int
    mismatched: int


def trained_lengths(rows: Sequence[tuple[int, int]], batch_size: int, max_length: int) -> list[Lengths]:
    """The rows as TRL truncates and pairs them: each takes the answer of the one before it in its batch."""
    found = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        for place, (prompt, answer) in enumerate(batch):
            room = max_length - prompt
            found.append(
                Lengths(prompt=prompt, answer=min(answer, room), mismatched=min(batch[place - 1][1], room))
            )
    return found


def operations(shape: Shape, rows: Sequence[Lengths], rank: int, *, cold: bool) -> float:
    """What training once on these rows has to compute.

    The policy over prompt and answer, forward and back; forward over the mismatched answer, which shares
    the prompt's keys and values. The base is frozen: of it the way back computes the gradient of its
    inputs alone; of the adapters that of their weights too. `cold` adds the reference over the same
    tokens, without adapters.
    """
    return sum(_row_operations(shape, row, rank, cold) for row in rows)


def _row_operations(shape: Shape, row: Lengths, rank: int, cold: bool) -> float:
    matched, mismatched = row.prompt + row.answer, row.mismatched
    base, adapters = linear_weights(shape), adapter_weights(shape, rank)
    attention = 4.0 * shape.layers * shape.heads * shape.head_dim
    matched_pairs = matched * (matched + 1) / 2
    mismatched_pairs = mismatched * row.prompt + mismatched * (mismatched + 1) / 2
    head = 2.0 * shape.hidden * shape.vocabulary
    forward = 2.0 * matched * base + attention * matched_pairs + head * row.answer
    aside = 2.0 * mismatched * base + attention * mismatched_pairs + head * mismatched
    adapted = 2.0 * adapters * (matched + mismatched)
    backward = 2.0 * matched * (base + 2 * adapters) + 2 * attention * matched_pairs + head * row.answer
    return (2 if cold else 1) * (forward + aside) + adapted + backward


def linear_weights(shape: Shape) -> int:
    """Weights of all linear layers but the head."""
    return shape.layers * sum(wide * narrow for wide, narrow in _linears(shape))


def adapter_weights(shape: Shape, rank: int) -> int:
    """Weights of LoRA on those layers."""
    return shape.layers * sum(rank * (into + out) for into, out in _linears(shape))


def _linears(shape: Shape) -> list[tuple[int, int]]:
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    width, mlp = shape.hidden, shape.intermediate
    return [
        *((width, queries), (width, keys), (width, keys), (queries, width)),
        *((width, mlp), (width, mlp), (mlp, width)),
    ]
