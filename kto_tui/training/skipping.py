"""Steps whose loss or gradients are not finite: they are left out, counted, and end a run that is lost."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

MOST_IN_A_ROW = 3
_ROWS_NAMED = 8


class NotFinite(ArithmeticError):
    """Training cannot go on: what should be a number is none."""


class Skips:
    """How many steps were skipped: in all, without one taken between, and since the last log."""

    def __init__(self) -> None:
        self.total = 0
        self.in_a_row = 0
        self._since_log = 0
        self._steps_since_log = 0

    def took(self) -> None:
        """A step was taken."""
        self.in_a_row = 0
        self._steps_since_log += 1

    def skipped(self) -> None:
        """A step was skipped."""
        self.total += 1
        self.in_a_row += 1
        self._since_log += 1
        self._steps_since_log += 1

    def mean_of_taken(self, mean: float) -> float:
        """The mean over the steps taken since the last log, from that over all; a new window begins."""
        steps, skipped = self._steps_since_log, self._since_log
        self._since_log = self._steps_since_log = 0
        if not skipped:
            return mean
        return mean * steps / (steps - skipped) if steps > skipped else float("nan")

    def state(self) -> list[int]:
        """For a checkpoint."""
        return [self.total, self.in_a_row, self._since_log, self._steps_since_log]

    def restore(self, state: Sequence[int]) -> None:
        """Go on counting from a `state`."""
        self.total, self.in_a_row, self._since_log, self._steps_since_log = state


def step_only_if(optimizer: torch.optim.Optimizer, may_step: Callable[[], bool]) -> None:
    """Have `optimizer.step` ask first, and do nothing where the answer is no."""
    plain_step: Callable[..., Any] = optimizer.step

    def step(closure: None = None) -> Any:
        return plain_step(closure) if may_step() else None

    optimizer.step = step  # type: ignore[method-assign, assignment]


def all_finite(parameters: Sequence[Tensor]) -> bool:
    """Whether every number in all of them is finite. Waits for the device."""
    return bool(torch.stack([torch.isfinite(values).all() for values in parameters]).all())


def named_rows(rows: Sequence[int], name_of: Callable[[int], str]) -> str:
    """The rows in words, the first few by name."""
    shown = "; ".join(name_of(row) for row in rows[:_ROWS_NAMED])
    more = len(rows) - _ROWS_NAMED
    return f"{shown}; and {more} more" if more > 0 else shown
