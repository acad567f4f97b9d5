"""Figures of lengths: percentiles, the bars of a histogram, and how two classes differ."""

import math

import numpy as np
from numpy.typing import NDArray

from kto_tui.core.datareport import Bin

PERCENTILES = (5, 50, 95, 99)
_BARS = 12
Lengths = NDArray[np.integer]


def spread(lengths: Lengths) -> dict[str, float]:
    """Percentiles by name: p5, p50, p95, p99, max. Empty for no lengths."""
    if not len(lengths):
        return {}
    values = np.percentile(lengths, PERCENTILES)
    named = {f"p{p}": float(value) for p, value in zip(PERCENTILES, values, strict=True)}
    return {**named, "max": float(lengths.max())}


def bars(lengths: Lengths) -> tuple[Bin, ...]:
    """The histogram, of 12 bars at most: of one width, or doubling where few lengths stand far out."""
    if not len(lengths):
        return ()
    low, high = int(lengths.min()), max(1, int(lengths.max()))
    edges = _doubling(low, high) if high > 8 * max(1.0, float(np.median(lengths))) else _even(low, high)
    counts = np.bincount(np.searchsorted(edges, lengths), minlength=len(edges))
    return tuple(Bin(tokens=edge, rows=int(count)) for edge, count in zip(edges, counts, strict=True))


def _even(low: int, high: int) -> list[int]:
    """Upper ends of bars of 1, 2 or 5 times a power of ten."""
    least = max(1, math.ceil((high - low) / (_BARS - 1)))
    power = 10 ** int(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    first = max(step, math.ceil(low / step) * step)
    return list(range(first, math.ceil(high / step) * step + 1, step)) or [first]


def _doubling(low: int, high: int) -> list[int]:
    last = max(1, high - 1).bit_length()
    first = max(min(max(0, low - 1).bit_length(), last), last - _BARS + 1)
    return [1 << power for power in range(first, last + 1)]


def share_longer(ones: Lengths, others: Lengths) -> float:
    """How often one of `ones` is longer than one of `others`, equal lengths counted half (the AUC)."""
    ranked = np.sort(others)
    below = np.searchsorted(ranked, ones, "left") + np.searchsorted(ranked, ones, "right")
    return float(below.mean() / (2 * len(others)))
