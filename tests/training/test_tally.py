"""The sums behind the logged figures."""

import json

import pytest
import torch

from kto_tui.training.tally import WINDOW_ROWS, RewardHistory, Tally


def test_each_mean_is_over_what_was_counted() -> None:
    tally = Tally()
    tally.add("rewards/chosen", torch.tensor([1.0, 2.0]), 2)
    tally.add("rewards/chosen", torch.tensor([6.0]), torch.tensor(1))
    tally.add("entropy", torch.tensor([10.0]), 4)
    assert tally.means() == {"rewards/chosen": 3.0, "entropy": 2.5}


def test_what_there_was_nothing_of_is_left_out() -> None:
    tally = Tally()
    tally.add("rewards/chosen", torch.tensor([0.0]), 0)
    tally.add("rewards/rejected", torch.tensor([1.0]), 1)
    assert tally.means() == {"rewards/rejected": 1.0}


def test_the_margin_is_between_the_means() -> None:
    tally = Tally()
    tally.add("rewards/chosen", torch.tensor([1.0, 1.0, 4.0]), 3)
    tally.add("rewards/rejected", torch.tensor([-1.0]), 1)
    assert tally.means()["rewards/margins"] == 3.0


def test_a_million_small_values_do_not_drown() -> None:
    """Sums are float64: in float32 a value below a sixteen-millionth of the sum would count as nothing."""
    tally = Tally()
    tally.add("loss", torch.tensor([2.0**25]), 1)
    for _ in range(8):
        tally.add("loss", torch.tensor([1.0]), 0)
    assert tally.means()["loss"] == 2.0**25 + 8


def test_a_copy_goes_its_own_way() -> None:
    tally = Tally()
    tally.add("kl", torch.tensor(1.0), 1)
    before = tally.copy()
    tally.add("kl", torch.tensor(3.0), 1)
    assert before.means() == {"kl": 1.0}
    assert tally.means() == {"kl": 2.0}
    tally.clear()
    assert tally.means() == {}


def test_no_gradient_is_held() -> None:
    tally = Tally()
    weight = torch.ones(2, requires_grad=True)
    tally.add("loss", weight * 2, 2)
    assert tally.means() == {"loss": 2.0}
    assert not any(t.requires_grad for pair in tally._sums.values() for t in pair)


def test_a_checkpoint_keeps_the_sums_to_the_bit() -> None:
    tally, again = Tally(), Tally()
    for value in (0.1, 1 / 3, 1e-9):
        tally.add("kl", torch.tensor(value, dtype=torch.float64), 1)
    again.restore(json.loads(json.dumps(tally.state())))
    for one in (tally, again):
        one.add("kl", torch.tensor(0.7), 1)
    assert again.state() == tally.state()


def labelled(values: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(values), torch.tensor([value > 0 for value in values])


def test_the_window_holds_the_newest_rows() -> None:
    history = RewardHistory()
    history.add(torch.full((WINDOW_ROWS,), 9.0), torch.zeros(WINDOW_ROWS, dtype=torch.bool))
    assert history.settled().auc() is None
    history.add(*labelled([1.0, -1.0] * (WINDOW_ROWS // 2)))
    assert history.settled().auc() == 1.0


def test_a_step_that_is_done_again_counts_once() -> None:
    history = RewardHistory()
    history.add(*labelled([1.0, -1.0]))
    mark = history.mark()
    history.add(*labelled([5.0, -5.0]))
    history.rewind(mark)
    history.add(*labelled([2.0, -2.0]))
    assert history.settled().state()["rewards"] == [1.0, -1.0, 2.0, -2.0]


def test_rewards_of_any_precision_are_taken() -> None:
    history = RewardHistory()
    history.add(torch.tensor([0.5, -0.5], dtype=torch.bfloat16), torch.tensor([True, False]))
    assert history.settled().state()["rewards"] == pytest.approx([0.5, -0.5])
