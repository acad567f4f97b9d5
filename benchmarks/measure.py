"""Both sides of a comparison in turns, medians, and the ratio."""

import statistics
import time
from collections.abc import Callable

Side = Callable[[], float]


def in_turns(rounds: int, *sides: Side) -> list[float]:
    """The median of each side over so many rounds, A B A B …, after one round that is not counted."""
    figures: list[list[float]] = [[] for _ in sides]
    for number in range(rounds + 1):
        for found, side in zip(figures, sides, strict=True):
            value = side()
            if number:
                found.append(value)
    return [statistics.median(found) for found in figures]


def seconds(work: Callable[[], object]) -> float:
    """How long it took, in seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def report(what: str, ours: float, theirs: float, against: str, aim: str, unit: str = "s") -> None:
    """One line: both figures, their ratio, and what is aimed at."""
    ratio = ours / theirs
    print(
        f"{what}: {ours:.3f} {unit} against {theirs:.3f} {unit} for {against}: {ratio:.2f} times (aim: {aim})"
    )
