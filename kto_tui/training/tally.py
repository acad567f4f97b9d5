"""Training's figures between two logs: sums and counts that stay on the device until they are asked for."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from kto_tui.training.auc import RewardWindow

WINDOW_ROWS = 512


class Tally:
    """Means by metric name, each over what it is a mean of: rows, tokens or blocks."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}

    def add(self, name: str, values: Tensor, count: Tensor | int) -> None:
        """Add the sum of `values`, which stands for so many things. Nothing is read back from the device."""
        added = values.detach().sum(dtype=torch.float64)
        number = torch.as_tensor(count, dtype=torch.float64, device=added.device)
        if name in self._sums:
            # A resumed run's sums lie on the host at first.
            total, seen = (figure.to(added.device) for figure in self._sums[name])
            added, number = total + added, seen + number
        self._sums[name] = added, number

    def means(self, over_ranks: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, float]:
        """The means, leaving out what there was nothing of; and the margin, where both sides are there.

        over_ranks: sums a tensor over all processes that train.
        """
        if not self._sums:
            return {}
        sums = over_ranks(torch.stack([torch.stack(figures) for figures in self._sums.values()]))
        named = zip(self._sums, sums.tolist(), strict=True)
        means = {name: total / count for name, (total, count) in named if count}
        if "rewards/chosen" in means and "rewards/rejected" in means:
            means["rewards/margins"] = means["rewards/chosen"] - means["rewards/rejected"]
        return means

    def clear(self) -> None:
        self._sums = {}

    def copy(self) -> "Tally":
        """The same sums, which go their own way from here."""
        other = Tally()
        other._sums = dict(self._sums)
        return other

    def state(self) -> dict[str, tuple[float, float]]:
        """All sums and counts, for a checkpoint."""
        return {name: (float(total), float(count)) for name, (total, count) in self._sums.items()}

    def restore(self, state: Mapping[str, tuple[float, float]]) -> None:
        """Take up the sums of a checkpoint."""
        self._sums = {
            name: (torch.tensor(total, dtype=torch.float64), torch.tensor(count, dtype=torch.float64))
            for name, (total, count) in state.items()
        }


class RewardHistory:
    """Rewards of the newest rows trained on. Taken from the device only when they are asked for."""

    def __init__(self) -> None:
        self._window = RewardWindow(WINDOW_ROWS)
        self._fresh: list[tuple[Tensor, Tensor]] = []

    def add(self, rewards: Tensor, desirable: Tensor) -> None:
        self._fresh.append((rewards.detach(), desirable))

    def mark(self) -> int:
        """Where the history stands, for `rewind`."""
        return len(self._fresh)

    def rewind(self, mark: int) -> None:
        """Forget what was added since, as the step is done again."""
        del self._fresh[mark:]

    def settled(self) -> RewardWindow:
        """The window with all that was added."""
        for rewards, desirable in self._fresh:
            self._window.add(rewards.float().cpu().numpy(), desirable.cpu().numpy())
        self._fresh.clear()
        return self._window
