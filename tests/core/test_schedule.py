"""How many steps a run has; tests/real_worker sees that the trainer takes as many."""

from typing import Any

import msgspec
import pytest

from kto_tui.core.config import RunConfig
from kto_tui.core.schedule import blocks_per_epoch, steps_per_epoch, total_steps


@pytest.mark.parametrize(
    ("rows", "changes", "per_epoch", "total"),
    [
        (320, {"batch_size": 8}, 40, 40),
        (321, {"batch_size": 8}, 41, 41),
        (320, {"batch_size": 8, "gradient_accumulation_steps": 3}, 14, 14),
        (320, {"batch_size": 6, "gradient_accumulation_steps": 4, "num_epochs": 2.5}, 14, 35),
        (320, {"batch_size": 8, "num_epochs": 0.5}, 40, 20),
        (2, {"batch_size": 8, "gradient_accumulation_steps": 4}, 1, 1),
        (320, {"batch_size": 8, "max_steps": 7, "num_epochs": 9}, 40, 7),
    ],
)
def test_steps(rows: int, changes: dict[str, Any], per_epoch: int, total: int) -> None:
    config = msgspec.convert(changes, RunConfig)
    assert steps_per_epoch(config, rows) == per_epoch
    assert total_steps(config, rows) == total


@pytest.mark.parametrize(
    ("rows", "size", "paired", "blocks"),
    [
        (8, 4, True, 2),
        (9, 4, True, 3),
        (9, 4, False, 3),
        (8, 2, True, 4),
        (9, 2, True, 4),
        (9, 2, False, 5),
        (2, 8, True, 1),
        (1, 2, True, 1),
        (0, 2, True, 0),
    ],
)
def test_blocks(rows: int, size: int, paired: bool, blocks: int) -> None:
    assert blocks_per_epoch(rows, size, paired) == blocks


def test_a_last_row_alone_makes_a_step_only_where_it_needs_no_partner() -> None:
    changes = {"batch_size": 2, "num_epochs": 2.0}
    assert total_steps(msgspec.convert(changes, RunConfig), 9) == 8
    assert total_steps(msgspec.convert({**changes, "loss_type": "apo_zero_unpaired"}, RunConfig), 9) == 10
