"""Rows of like length together, so that little padding is passed through a model."""

from collections.abc import Sequence

import torch
from torch import Tensor

# A group of fewer tokens than this costs more to start than its padding would.
WORTH_A_PASS = 512
LIKE = 0.8


def alike(lengths: Tensor, most: int) -> list[Tensor]:
    """Row numbers in groups of at most `most` rows, the longest first.

    lengths: (rows,) tokens. A row joins a group if it is at least LIKE of its longest row's length, or if the
    group is not yet WORTH_A_PASS.
    """
    groups: list[list[int]] = []
    sizes = lengths.tolist()
    longest = 0
    for row in sorted(range(len(sizes)), key=lambda row: -sizes[row]):
        last = groups[-1] if groups else []
        enough = len(last) * longest >= WORTH_A_PASS
        if not last or len(last) == most or (enough and sizes[row] < LIKE * longest):
            last, longest = [], sizes[row]
            groups.append(last)
        last.append(row)
    return [torch.tensor(group, device=lengths.device) for group in groups]


def in_order(made: Sequence[Tensor], groups: Sequence[Tensor]) -> Tensor:
    """(rows,) what was made of each group, back in the order of the rows."""
    return torch.cat(list(made))[torch.cat(list(groups)).argsort()]
