"""Early stopping: which evaluation was the best, and when it is enough."""

import json
import math

import pytest

from kto_tui.training.early import EarlyStopping


def told(patience: int, *losses: float) -> EarlyStopping:
    """After these evaluations, ten steps apart."""
    stopping = EarlyStopping(patience)
    for count, loss in enumerate(losses, start=1):
        stopping.observe(10 * count, loss)
    return stopping


@pytest.mark.parametrize(
    ("patience", "losses", "best", "improved", "exhausted"),
    [
        (1, (), None, False, False),
        (1, (0.5,), (10, 0.5), True, False),
        (1, (0.5, 0.4, 0.3), (30, 0.3), True, False),
        (1, (0.5, 0.6), (10, 0.5), False, True),
        (1, (0.5, 0.5), (10, 0.5), False, True),
        (2, (0.5, 0.6), (10, 0.5), False, False),
        (2, (0.5, 0.6, 0.55), (10, 0.5), False, True),
        (2, (0.5, 0.6, 0.4, 0.45), (30, 0.4), False, False),
        (2, (0.5, 0.6, 0.4, 0.45, 0.41), (30, 0.4), False, True),
        (2, (0.5, math.nan, -math.inf), (10, 0.5), False, True),
        (2, (math.nan,), None, False, False),
        (2, (math.inf, math.nan), None, False, True),
        (3, (math.nan, math.nan, 0.7), (30, 0.7), True, False),
    ],
)
def test_only_a_lower_loss_is_better(
    patience: int, losses: tuple[float, ...], best: tuple[int, float] | None, improved: bool, exhausted: bool
) -> None:
    stopping = told(patience, *losses)
    assert (stopping.best_step, stopping.best_loss) == (best or (None, None))
    assert (stopping.improved, stopping.exhausted) == (improved, exhausted)


def test_a_step_told_twice_counts_once() -> None:
    stopping = told(2, 0.5, 0.6)
    stopping.observe(20, 0.6)
    assert not stopping.exhausted
    stopping = told(1, 0.5)
    stopping.observe(10, 0.5)
    assert stopping.improved
    assert not stopping.exhausted


@pytest.mark.parametrize("broken_after", range(6))
def test_a_resumed_run_counts_on(broken_after: int) -> None:
    losses = (math.nan, 0.5, 0.6, 0.4, 0.7, 0.5)
    before = told(2, *losses[:broken_after])
    after = EarlyStopping(2)
    after.restore(json.loads(json.dumps(before.state(), allow_nan=False)))
    assert (after.improved, after.exhausted) == (before.improved, before.exhausted)
    for count, loss in enumerate(losses[broken_after:], start=broken_after + 1):
        after.observe(10 * count, loss)
    assert after.state() == told(2, *losses).state()
    assert after.exhausted


def test_another_patience_may_be_given_to_a_resumed_run() -> None:
    longer = EarlyStopping(3)
    longer.restore(told(2, 0.5, 0.6, 0.7).state())
    assert not longer.exhausted
    longer.observe(40, 0.8)
    assert longer.exhausted


def test_no_patience_at_all_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        EarlyStopping(0)
