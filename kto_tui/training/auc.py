"""How well rewards separate desirable rows from undesirable ones: the area under the ROC curve."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def auc(rewards: ArrayLike, desirable: ArrayLike) -> float | None:
    """The probability that a random desirable row's reward is above a random undesirable one's.

    rewards: (rows,) float; desirable: (rows,) bool. A tie counts half, so 0.5 is chance and 1 a
    perfect separation: the Mann-Whitney U over n_desirable * n_undesirable, counted in integers.
    None where one of the two classes has no row; nan where a reward is nan, since it has no rank.
    Infinite rewards are ranked like any other.
    """
    values, labels = np.asarray(rewards, np.float64), np.asarray(desirable, np.bool_)
    if values.ndim != 1 or values.shape != labels.shape:
        raise ValueError(f"rewards {values.shape} and labels {labels.shape} are not rows side by side")
    pairs = int(labels.sum()) * int((~labels).sum())
    if not pairs:
        return None
    if np.isnan(values).any():
        return math.nan
    levels, level_of_row = np.unique(values, return_inverse=True)
    good = np.bincount(level_of_row[labels], minlength=levels.size)
    bad = np.bincount(level_of_row[~labels], minlength=levels.size)
    half_wins = good * (2 * (np.cumsum(bad) - bad) + bad)
    return int(half_wins.sum()) / (2 * pairs)


class RewardWindow:
    """The rewards and labels of the newest `size` rows that were trained on."""

    def __init__(self, size: int = 512) -> None:
        if size < 2:
            raise ValueError(f"a window of {size} rows holds no pair")
        self._size = size
        self._rewards: NDArray[np.float64] = np.empty(0, np.float64)
        self._labels: NDArray[np.bool_] = np.empty(0, np.bool_)

    def __len__(self) -> int:
        return self._rewards.size

    def add(self, rewards: ArrayLike, labels: ArrayLike) -> None:
        """Take in rows, oldest first. rewards: (rows,) float; labels: (rows,) bool, true for desirable."""
        new_rewards, new_labels = np.asarray(rewards, np.float64), np.asarray(labels, np.bool_)
        if new_rewards.ndim != 1 or new_rewards.shape != new_labels.shape:
            raise ValueError(f"rewards {new_rewards.shape} and labels {new_labels.shape} are not rows")
        self._rewards = np.concatenate([self._rewards, new_rewards])[-self._size :]
        self._labels = np.concatenate([self._labels, new_labels])[-self._size :]

    def auc(self) -> float | None:
        """`auc` of the rows in the window. Their rewards were each measured when the row was trained on."""
        return auc(self._rewards, self._labels)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain JSON: nan becomes null, infinity the largest number."""
        largest = np.finfo(np.float64).max
        finite = np.clip(self._rewards, -largest, largest).tolist()
        return {
            "rewards": [None if math.isnan(value) else value for value in finite],
            "labels": self._labels.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a window's `state`, of this size or another; what the window held before is gone."""
        rewards = [math.nan if value is None else value for value in state["rewards"]]
        self._rewards, self._labels = np.empty(0, np.float64), np.empty(0, np.bool_)
        self.add(rewards, state["labels"])
