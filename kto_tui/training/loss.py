"""KTO's formulas, on tensors alone."""

import torch
from torch import Tensor

from kto_tui.core.config import LossType


def unweighted_losses(
    loss_type: LossType, log_ratio: Tensor, reference_point: Tensor, desirable: Tensor, beta: float
) -> Tensor:
    """Per-row losses in [0, 1], (rows,).

    kto: eq. 7 and 8 of arXiv 2402.01306; apo_zero_unpaired: the unpaired form of APO-zero, arXiv 2408.06266,
    which knows no reference point.

    log_ratio: (rows,) log π − log π_ref of the completion, summed over its tokens, in nats.
    reference_point: () the clamped z, in nats, without gradient.
    desirable: (rows,) bool.
    """
    baseline = reference_point if loss_type == "kto" else 0.0
    towards = beta * (log_ratio - baseline)
    # 1 − σ(t) for desirable rows; for the others 1 − σ(−t), which is σ(t).
    return torch.sigmoid(torch.where(desirable, -towards, towards))


def row_weights(desirable: Tensor, weights: tuple[float, float]) -> Tensor:
    """(rows,) the weight of each row; `weights` are (desirable, undesirable)."""
    return torch.where(desirable, weights[0], weights[1])


def clamped_mean(total: Tensor, count: Tensor) -> Tensor:
    """() z: the mean log-ratio of the mismatched pairs, never below 0 (section 4.1 of arXiv 2402.01306)."""
    return (total / count).clamp(min=0)
