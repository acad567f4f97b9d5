"""When a run has stopped getting better: counting evaluations since the best one."""

import math
from typing import Any


class EarlyStopping:
    """Remembers the best evaluation, and how many there were since. It stops nothing by itself.

    `patience`: so many evaluations in a row without a lower loss exhaust it.
    """

    def __init__(self, patience: int) -> None:
        if patience < 1:
            raise ValueError(f"patience is {patience}; expected at least 1")
        self._patience = patience
        self._best_step: int | None = None
        self._best_loss: float | None = None
        self._since_best = 0
        self._last_step: int | None = None

    def observe(self, step: int, loss: float) -> None:
        """Take in the evaluation of a step. Only a lower loss is better; one that is not finite never is.

        A step told a second time, as by a resume, counts once.
        """
        if step == self._last_step:
            return
        self._last_step = step
        if math.isfinite(loss) and (self._best_loss is None or loss < self._best_loss):
            self._best_step, self._best_loss, self._since_best = step, loss, 0
        else:
            self._since_best += 1

    @property
    def best_step(self) -> int | None:
        """The step of the lowest loss so far; None before there was a finite one."""
        return self._best_step

    @property
    def best_loss(self) -> float | None:
        return self._best_loss

    @property
    def improved(self) -> bool:
        """Whether the newest evaluation is the best so far."""
        return self._best_step is not None and self._since_best == 0

    @property
    def exhausted(self) -> bool:
        """Whether the patience has run out."""
        return self._since_best >= self._patience

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain JSON. The patience is a setting and not part of it."""
        return {
            "best_step": self._best_step,
            "best_loss": self._best_loss,
            "since_best": self._since_best,
            "last_step": self._last_step,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on counting from a `state`."""
        self._best_step, self._best_loss = state["best_step"], state["best_loss"]
        self._since_best, self._last_step = state["since_best"], state["last_step"]
