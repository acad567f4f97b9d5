"""What is trained on, in which blocks, and where a step of it stands."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset

from kto_tui.training.batches import Block, Collator
from kto_tui.training.blocks import EpochBlocks
from kto_tui.training.snapshot import Before, RandomState
from kto_tui.training.tokens import TokenizedRows


@dataclass(frozen=True)
class Planned:
    """Rows and the blocks that they are taken in."""

    rows: TokenizedRows
    blocks: Sequence[Sequence[int]]


@dataclass
class Step:
    """One optimizer step under way: its blocks, how many of them have left their gradient, and how things
    were before it, for when it has to be done again or is left.

    `randomness` is that before its first pass with gradient. `finite`: (rows,) numbers of the rows passed
    with gradient, and whether their losses are finite.
    """

    blocks: list[Block]
    before: Before
    randomness: RandomState | None = None
    prepared_for: int = 0
    trained: int = 0
    finite: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def losses_are_finite(self) -> torch.Tensor:
        """() bool, on the device."""
        return torch.stack([fine.all() for _, fine in self.finite]).all()

    def offending_rows(self) -> list[int]:
        """Rows whose loss is not finite; all rows of the step where each loss is."""
        rows = torch.cat([numbers for numbers, _ in self.finite]).cpu()
        bad = ~torch.cat([fine for _, fine in self.finite]).cpu()
        return sorted((rows[bad] if bool(bad.any()) else rows).tolist())


class Blocks(DataLoader[Any]):
    """The blocks of one epoch after the other."""

    def __init__(self, rows: TokenizedRows, blocks: EpochBlocks, collator: Collator) -> None:
        # A generator of its own: else each epoch would move the random state that dropout draws from.
        super().__init__(
            cast(Dataset[Any], rows),
            batch_sampler=blocks,
            collate_fn=collator,
            generator=torch.Generator(),
        )

    def set_epoch(self, epoch: int) -> None:
        """Called by transformers as an epoch begins; after a resume it finds the sampler by itself."""
        assert isinstance(self.batch_sampler, EpochBlocks)
        self.batch_sampler.set_epoch(epoch)
