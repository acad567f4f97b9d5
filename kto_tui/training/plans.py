"""What is trained on, in which blocks, and where a step of it stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset

from kto_tui.training.batches import Block, Collator
from kto_tui.training.blocks import EpochBlocks
from kto_tui.training.tally import Tally
from kto_tui.training.tokens import TokenizedRows


@dataclass(frozen=True)
class Planned:
    """Rows and the blocks that they are taken in."""

    rows: TokenizedRows
    blocks: Sequence[Sequence[int]]


@dataclass
class Step:
    """One optimizer step under way: its blocks, how many of them have left their gradient, and the figures
    as they were before it, for when it has to be done again."""

    blocks: list[Block]
    tally: Tally
    rewards: int
    prepared_for: int = 0
    trained: int = 0


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
