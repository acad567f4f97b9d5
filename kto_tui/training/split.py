"""Which prompts are held out to be evaluated on."""

import numpy as np
from numpy.typing import NDArray


def held_out_prompts(
    counts: NDArray[np.int64], fraction: float, order: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(prompts,) which of them are held out, so that as near to `fraction` of either label's rows are.

    counts: (prompts, 2) the rows of either label. order: (prompts,) in which they are asked.

    Training keeps two rows and a row of each label. Evaluation gets as much wherever there is a way.
    """
    split = _Split(counts, fraction)
    for prompt in order.tolist():
        split.take_if_nearer(prompt)
    for label in (0, 1):
        if not split.out[label]:
            split.take_smallest(order, label)
    while sum(split.out) < 2 and split.take_smallest(order):
        pass
    return np.array(split.held_out, dtype=np.bool_)


class _Split:
    """What is held out so far: `out` counts its rows by label."""

    def __init__(self, counts: NDArray[np.int64], fraction: float) -> None:
        self._counts: list[list[int]] = counts.tolist()
        self._total: list[int] = counts.sum(axis=0).tolist()
        self._wanted = [round(fraction * rows) for rows in self._total]
        self.held_out = [False] * len(self._counts)
        self.out = [0, 0]

    def take_if_nearer(self, prompt: int) -> None:
        """Hold the prompt out if that leaves less to be wished for."""
        rows = self._counts[prompt]
        missing = [wanted - out for wanted, out in zip(self._wanted, self.out, strict=True)]
        after = sum(abs(there - more) for there, more in zip(missing, rows, strict=True))
        if after < sum(map(abs, missing)) and self._can_spare(prompt):
            self._take(prompt)

    def take_smallest(self, order: NDArray[np.int64], label: int | None = None) -> bool:
        """Hold out the prompt with the fewest rows that can be spared, of those with rows of the label.

        Returns whether there is one.
        """
        left = (prompt for prompt in order.tolist() if not self.held_out[prompt])
        fitting = (prompt for prompt in left if label is None or self._counts[prompt][label])
        spare = filter(self._can_spare, fitting)
        smallest = min(spare, key=lambda prompt: sum(self._counts[prompt]), default=None)
        if smallest is not None:
            self._take(smallest)
        return smallest is not None

    def _can_spare(self, prompt: int) -> bool:
        rows = self._counts[prompt]
        left = [total - out - n for total, out, n in zip(self._total, self.out, rows, strict=True)]
        each = all(n >= min(total, 1) for n, total in zip(left, self._total, strict=True))
        return each and sum(left) >= 2

    def _take(self, prompt: int) -> None:
        self.held_out[prompt] = True
        self.out = [out + n for out, n in zip(self.out, self._counts[prompt], strict=True)]
