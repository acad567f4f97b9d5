"""How many steps a run has; tests/real_worker sees that the trainer takes as many."""

from typing import Any

import msgspec
import pytest

from kto_tui.core.config import RunConfig
from kto_tui.core.schedule import steps_per_epoch, total_steps


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
