"""Going on after the device ran out of memory: smaller parts, the same step."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")
_WORDS = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDA out of memory",
    "[CUDA]: out of memory",
    "can't allocate memory",
)


class TooLargeForDevice(Exception):
    """Even a single row does not fit into memory."""


@dataclass(frozen=True)
class Shrunk:
    """What was made smaller: rows that are passed through the model at once, before and now."""

    evaluating: bool
    before: int
    now: int


class Rows:
    """How many rows are passed through the model at once; halved each time that memory runs out.

    `at_once` never grows again: a run that resumes goes on with it. `recovers`: not where several processes
    train, since one that begins a step again would leave the others waiting.
    """

    def __init__(
        self,
        at_once: int,
        report: Callable[[Shrunk], None],
        *,
        evaluating: bool = False,
        recovers: bool = True,
    ) -> None:
        self.at_once = at_once
        self._recovers = recovers
        self._report = report
        self._evaluating = evaluating

    def carry_out(self, work: Callable[[int], T], undo: Callable[[], None] = lambda: None) -> T:
        """`work(rows at once)`, again with half of the rows after `undo` for as long as memory runs out.

        Raises TooLargeForDevice.
        """
        while True:
            try:
                return work(self.at_once)
            except RuntimeError as error:
                if not self._recovers or not is_out_of_memory(error):
                    raise
                problem = str(error)
            # Outside of the handler, where nothing holds the failed pass's tensors any more.
            undo()
            self._halve(problem)

    def _halve(self, problem: str) -> None:
        free_memory()
        if self.at_once == 1:
            raise TooLargeForDevice(
                "a single row does not fit into memory; lower --max-length, set --gradient-checkpointing on, "
                f"or choose a smaller model or --quantization nf4 ({problem.splitlines()[0]})"
            )
        before, self.at_once = self.at_once, (self.at_once + 1) // 2
        self._report(Shrunk(self._evaluating, before, self.at_once))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the device's memory ran out: libraries beside torch's allocator have words of their own."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _WORDS)


def free_memory() -> None:
    """Give back what torch holds without need."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
