"""An evaluation's figures, from the log-ratios of all its rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kto_tui.core.config import LossType
from kto_tui.training.auc import auc
from kto_tui.training.loss import clamped_mean, row_weights, unweighted_losses


@dataclass(frozen=True)
class Judged:
    """One block as both models see it, on the CPU.

    `logps`: (rows,) log π; `log_ratios`: (rows,) log π − log π_ref of the own answers; `mismatched`: the
    same of the answers that belong to others, where the loss needs them. In nats.
    """

    desirable: Tensor
    logps: Tensor
    log_ratios: Tensor
    mismatched: Tensor | None


@dataclass(frozen=True)
class Objective:
    """The loss that is minimized. `weights` are (desirable, undesirable); `pools_z`: over all blocks."""

    loss_type: LossType
    beta: float
    weights: tuple[float, float]
    pools_z: bool


def evaluate_blocks(blocks: Sequence[Judged], objective: Objective) -> dict[str, float]:
    """Means over all rows, each counting alike, by TRL's names; and rewards/auc.

    z is estimated over all mismatched pairs of the evaluation, or by block as TRL does.
    """
    desirable = torch.cat([block.desirable for block in blocks])
    ratios = torch.cat([block.log_ratios for block in blocks])
    points = _reference_points(blocks, objective.pools_z)
    by_row = torch.cat([z.expand(len(b.desirable)) for z, b in zip(points, blocks, strict=True)])
    losses = unweighted_losses(objective.loss_type, ratios, by_row, desirable, objective.beta)
    rewards = objective.beta * ratios
    metrics = {
        "loss": float((losses * row_weights(desirable, objective.weights)).mean()),
        "kl": float(torch.stack(points).mean()),
        **_by_class("rewards", rewards, desirable),
        **_by_class("logps", torch.cat([block.logps for block in blocks]), desirable),
    }
    if "rewards/chosen" in metrics and "rewards/rejected" in metrics:
        metrics["rewards/margins"] = metrics["rewards/chosen"] - metrics["rewards/rejected"]
    if (area := auc(rewards.numpy(), desirable.numpy())) is not None:
        metrics["rewards/auc"] = area
    return metrics


def _reference_points(blocks: Sequence[Judged], pooled: bool) -> list[Tensor]:
    """z for each block; 0 where the loss knows none."""
    pairs = [block.mismatched for block in blocks if block.mismatched is not None]
    if not pairs:
        return [torch.zeros(())] * len(blocks)
    if pooled:
        pairs = [torch.cat(pairs)] * len(blocks)
    return [clamped_mean(ratios.sum(), ratios.new_tensor(float(len(ratios)))) for ratios in pairs]


def _by_class(name: str, values: Tensor, desirable: Tensor) -> dict[str, float]:
    sides = {"chosen": values[desirable], "rejected": values[~desirable]}
    return {f"{name}/{side}": float(found.mean()) for side, found in sides.items() if len(found)}
