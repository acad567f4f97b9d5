"""The AUC of rewards, against its definition: all pairs, one by one."""

import json
import math
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from kto_tui.training.auc import RewardWindow, auc

Rows = tuple[NDArray[np.float64], NDArray[np.bool_]]


def pair_by_pair(rewards: NDArray[np.float64], desirable: NDArray[np.bool_]) -> float | None:
    good, bad = rewards[desirable], rewards[~desirable]
    wins = [(a > b) + 0.5 * (a == b) for a in good for b in bad]
    return float(np.mean(wins)) if wins else None


def drawn(seed: int, rows: int, levels: int | None) -> Rows:
    """Random rows; with few `levels`, many of them tie."""
    chance = np.random.default_rng(seed)
    rewards = chance.normal(size=rows) if levels is None else chance.integers(levels, size=rows) / 7
    return np.asarray(rewards, np.float64), chance.random(rows) < chance.random()


@pytest.mark.parametrize("levels", [None, 1, 2, 5])
@pytest.mark.parametrize("seed", range(25))
def test_it_is_the_share_of_pairs_won(seed: int, levels: int | None) -> None:
    rewards, labels = drawn(seed, rows=seed + 1, levels=levels)
    expected = pair_by_pair(rewards, labels)
    assert auc(rewards, labels) == (expected if expected is None else pytest.approx(expected, abs=1e-14))


@pytest.mark.parametrize("seed", range(10))
def test_only_the_order_of_the_rewards_counts(seed: int) -> None:
    rewards, labels = drawn(seed, 40, levels=9)
    found = auc(rewards, labels)
    shuffled = np.random.default_rng(seed).permutation(40)
    assert auc(rewards[shuffled], labels[shuffled]) == found
    assert auc(np.exp(3 * rewards) - 100, labels) == found
    if found is not None:
        assert auc(-rewards, labels) == pytest.approx(1 - found, abs=1e-15)
        assert auc(rewards, ~labels) == pytest.approx(1 - found, abs=1e-15)


@pytest.mark.parametrize(
    ("rewards", "labels", "expected"),
    [
        ([0.2, 0.1], [1, 0], 1.0),
        ([0.1, 0.2], [1, 0], 0.0),
        ([0.0, -0.0], [1, 0], 0.5),
        ([3.0, 1.0, 2.0, 2.0], [1, 0, 1, 0], 0.875),
        ([math.inf, -math.inf, 0.0], [1, 0, 0], 1.0),
        ([math.inf, math.inf], [1, 0], 0.5),
        ([], [], None),
        ([1.0, 2.0], [1, 1], None),
        ([math.nan, 2.0], [0, 0], None),
    ],
)
def test_by_hand(rewards: list[float], labels: list[int], expected: float | None) -> None:
    assert auc(rewards, labels) == expected


def test_a_reward_without_a_rank_leaves_no_figure() -> None:
    found = auc([math.nan, 0.1, 0.2], [True, False, True])
    assert found is not None
    assert math.isnan(found)


def test_rewards_and_labels_go_together() -> None:
    for rewards, labels in (([0.1, 0.2], [True]), ([[0.1]], [[True]])):
        with pytest.raises(ValueError, match="rows"):
            auc(rewards, labels)
        with pytest.raises(ValueError, match="rows"):
            RewardWindow().add(rewards, labels)


def test_many_rows_need_neither_all_pairs_nor_much_time() -> None:
    rewards, labels = drawn(1, 400_000, levels=None)
    began = time.process_time()
    found = auc(rewards + labels, labels)
    assert time.process_time() - began < 10
    assert found == pytest.approx(0.760, abs=0.005)  # Φ(1/√2): two normals, one unit apart.


@pytest.mark.parametrize("batch", [1, 3, 8, 100])
def test_the_window_holds_the_newest_rows(batch: int) -> None:
    rewards, labels = drawn(3, 100, levels=6)
    window = RewardWindow(size=20)
    for start in range(0, 100, batch):
        window.add(rewards[start : start + batch], labels[start : start + batch])
        end = min(start + batch, 100)
        newest = slice(max(0, end - 20), end)
        assert len(window) == min(end, 20)
        assert window.auc() == auc(rewards[newest], labels[newest])


def test_an_empty_window_has_no_figure() -> None:
    window = RewardWindow()
    assert window.auc() is None
    window.add([], [])
    assert window.auc() is None
    with pytest.raises(ValueError, match="no pair"):
        RewardWindow(size=1)


def test_a_resumed_window_goes_on_as_the_old_one() -> None:
    rewards, labels = drawn(5, 60, levels=None)
    whole, first, second = RewardWindow(30), RewardWindow(30), RewardWindow(30)
    whole.add(rewards, labels)
    first.add(rewards[:40], labels[:40])
    second.add([9.0, 9.0], [True, False])
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    second.add(rewards[40:], labels[40:])
    assert second.state() == whole.state()
    assert second.auc() == whole.auc()


def test_what_is_not_finite_survives_as_json() -> None:
    window, resumed = RewardWindow(4), RewardWindow(4)
    window.add([0.0, math.nan, math.inf, 1.0, -math.inf], [True, False, True, False, False])
    resumed.restore(json.loads(json.dumps(window.state(), allow_nan=False)))
    assert resumed.state() == window.state()
    found = resumed.auc()
    assert found is not None
    assert math.isnan(found)
    resumed.add([0.0], [True])
    assert resumed.auc() == 0.75
    smaller = RewardWindow(2)
    smaller.restore(window.state())
    assert len(smaller) == 2
