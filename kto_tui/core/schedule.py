"""How many steps a run has, as the trainer counts them."""

import math

from kto_tui.core.config import RunConfig


def needs_pairs(config: RunConfig) -> bool:
    """Whether the loss has a KL term, for which each row needs the answer of another one."""
    return config.loss_type != "apo_zero_unpaired"


def blocks_per_epoch(rows: int, batch_size: int, paired: bool) -> int:
    """Micro-batches in one pass over the rows; one of them may be short.

    Where pairs are needed none has a single row: with a batch size of 2 the last of an odd number of rows
    joins another block, else a block lends it a row.
    """
    if paired and batch_size == 2 and rows > 1:
        return rows // 2
    return math.ceil(rows / batch_size)


def steps_per_epoch(config: RunConfig, rows: int) -> int:
    """Optimizer steps in one pass over the rows; the last accumulation may be short."""
    blocks = blocks_per_epoch(rows, config.batch_size, needs_pairs(config))
    return max(1, math.ceil(blocks / config.gradient_accumulation_steps))


def total_steps(config: RunConfig, rows: int) -> int:
    """The step at which training ends."""
    if config.max_steps is not None:
        return config.max_steps
    return math.ceil(config.num_epochs * steps_per_epoch(config, rows))


def held_out_rows(config: RunConfig, rows: int) -> int:
    """About how many of the rows --eval-fraction holds out: those of one prompt stay together."""
    return round((config.eval_fraction or 0.0) * rows)
