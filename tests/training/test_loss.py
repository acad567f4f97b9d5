"""KTO's formulas against values worked out by hand."""

import math

import pytest
import torch

from kto_tui.training.loss import clamped_mean, row_weights, unweighted_losses

BETA = 0.1
GOLDEN = [  # desirable, log-ratio, z, kto, apo_zero_unpaired
    (True, 2.0, 0.5, 0.46257015, 0.45016600),
    (False, -1.5, 0.5, 0.45016600, 0.46257015),
    (True, -20.0, 0.0, 0.88079708, 0.88079708),
    (False, 20.0, 3.0, 0.84553473, 0.88079708),
    (True, 1.5, 2.5, 0.52497919, 0.46257015),
]


@pytest.mark.parametrize(("desirable", "ratio", "z", "kto", "apo_zero"), GOLDEN)
def test_golden_values(desirable: bool, ratio: float, z: float, kto: float, apo_zero: float) -> None:
    ratios = torch.tensor([ratio], dtype=torch.float64)
    row = (ratios, torch.tensor(z), torch.tensor([desirable]), BETA)
    assert float(unweighted_losses("kto", *row)) == pytest.approx(kto, abs=5e-9)
    assert float(unweighted_losses("apo_zero_unpaired", *row)) == pytest.approx(apo_zero, abs=5e-9)


def test_the_rows_of_a_block_keep_their_places() -> None:
    labels, ratios, z = torch.tensor([True, False, True]), torch.tensor([2.0, -1.5, 1.5]), torch.tensor(0.5)
    together = unweighted_losses("kto", ratios, z, labels, BETA)
    alone = [unweighted_losses("kto", ratios[i : i + 1], z, labels[i : i + 1], BETA) for i in range(3)]
    assert together.tolist() == torch.cat(alone).tolist()


@pytest.mark.parametrize("desirable", [True, False])
def test_the_gradient_is_beta_times_the_slope_of_the_sigmoid(desirable: bool) -> None:
    """It draws desirable rows up and the others down, hardest where the policy is undecided."""
    ratios = torch.tensor([-30.0, 0.5, 30.0], requires_grad=True)
    losses = unweighted_losses("kto", ratios, torch.tensor(0.5), torch.full((3,), desirable), BETA)
    (gradient,) = torch.autograd.grad(losses.sum(), ratios)
    sigmoids = [1 / (1 + math.exp(-BETA * (ratio - 0.5))) for ratio in ratios.tolist()]
    slopes = [BETA * s * (1 - s) * (-1 if desirable else 1) for s in sigmoids]
    assert gradient.tolist() == pytest.approx(slopes, rel=1e-5)


@pytest.mark.parametrize("ratio", [-1e5, 1e5])
def test_far_away_it_is_flat_and_finite(ratio: float) -> None:
    ratios = torch.tensor([ratio, ratio], requires_grad=True)
    losses = unweighted_losses("kto", ratios, torch.zeros(()), torch.tensor([True, False]), BETA)
    (gradient,) = torch.autograd.grad(losses.sum(), ratios)
    assert sorted(losses.tolist()) == [0.0, 1.0]
    assert gradient.tolist() == [0.0, 0.0]


def test_a_weight_of_0_stays_0() -> None:
    """One peer takes it for 1."""
    labels = torch.tensor([True, False])
    assert row_weights(labels, (0.0, 2.0)).tolist() == [0.0, 2.0]
    assert row_weights(labels, (1.5, 0.0)).tolist() == [1.5, 0.0]


def test_z_is_clamped_once_it_is_a_mean() -> None:
    ratios = torch.tensor([3.0, -1.0, -1.0])
    count = torch.tensor(3.0)
    assert float(clamped_mean(ratios.sum(), count)) == pytest.approx(1 / 3)
    assert float(clamped_mean(-ratios.sum(), count)) == 0
