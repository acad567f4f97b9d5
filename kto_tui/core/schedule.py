"""How many steps a run has, as the trainer counts them."""

import math

from kto_tui.core.config import RunConfig


def steps_per_epoch(config: RunConfig, rows: int) -> int:
    """Optimizer steps in one pass over the rows; a last batch or a last accumulation may be short."""
    batches = math.ceil(rows / config.batch_size)
    return max(1, math.ceil(batches / config.gradient_accumulation_steps))


def total_steps(config: RunConfig, rows: int) -> int:
    """The step at which training ends."""
    if config.max_steps is not None:
        return config.max_steps
    return math.ceil(config.num_epochs * steps_per_epoch(config, rows))
