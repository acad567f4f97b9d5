"""Ratings as people write them."""

from typing import Any

import pytest

from kto_tui.data.labels import parse_label

GOOD = [True, 1, 1.0, "true", "TRUE", " Yes ", "1", "1.0", "up", "👍", "👍🏽", "👍\ufe0f"]
GOOD += ["thumbs_up", "Thumbs Up", "thumbs-up", "ThumbsUp"]
BAD = [False, 0, 0.0, -0.0, "false", "No", "0", "0.0", "down", "👎", "thumbs_down", "THUMBS  DOWN"]
NEITHER: list[Any] = [
    "maybe",
    "",
    " ",
    "2",
    "+1",
    "-1",
    "t",
    None,
    2,
    -1,
    0.5,
    float("nan"),
    [],
    {},
    [True],
    "true false",
    "thumbs",
]


@pytest.mark.parametrize("value", GOOD)
def test_desirable(value: Any) -> None:
    assert parse_label(value) is True


@pytest.mark.parametrize("value", BAD)
def test_undesirable(value: Any) -> None:
    assert parse_label(value) is False


@pytest.mark.parametrize("value", NEITHER)
def test_what_cannot_be_told(value: Any) -> None:
    assert parse_label(value) is None
