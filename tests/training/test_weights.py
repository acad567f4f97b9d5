import pytest

from kto_tui.data.survey.balance import balanced_weights


@pytest.mark.parametrize(
    ("desirable", "undesirable", "wanted"),
    [
        (100, 100, (1.0, 1.0)),
        (400, 300, (1.0, 1.0)),
        (120, 100, (1.0, 1.0)),
        (100, 200, (2.0, 1.0)),
        (300, 100, (1.0, 2.25)),
        (1, 1000, (1000.0, 1.0)),
    ],
)
def test_the_smaller_side_is_raised_just_into_the_band(
    desirable: int, undesirable: int, wanted: tuple[float, float]
) -> None:
    assert balanced_weights(desirable, undesirable) == pytest.approx(wanted)


@pytest.mark.parametrize("desirable", range(1, 60, 7))
@pytest.mark.parametrize("undesirable", range(1, 60, 5))
def test_the_ratio_is_always_in_the_band(desirable: int, undesirable: int) -> None:
    w_d, w_u = balanced_weights(desirable, undesirable)
    assert min(w_d, w_u) == 1
    assert 1 - 1e-9 <= w_d * desirable / (w_u * undesirable) <= 4 / 3 + 1e-9
