"""Both sides of a comparison in turns, medians, and the ratio."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Side = Callable[[], float]


@dataclass(frozen=True)
class Comparison:
    """Medians of both sides, and the median of the rounds' ratios: it holds while the machine drifts."""

    ours: float
    theirs: float
    ratio: float


def in_turns(rounds: int, ours: Side, theirs: Side) -> Comparison:
    """So many rounds of one and the other, A B A B …, after one round that is not counted."""
    pairs = [(ours(), theirs()) for _ in range(rounds + 1)][1:]
    return Comparison(
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def seconds(work: Callable[[], object]) -> float:
    """How long it took, in seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def report(what: str, found: Comparison, against: str, aim: str) -> None:
    """One line: both figures in seconds, their ratio, and what is aimed at."""
    print(
        f"{what}: {found.ours:.3f} s against {found.theirs:.3f} s for {against}: "
        f"{found.ratio:.2f} times (aim: {aim})"
    )
