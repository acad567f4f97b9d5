"""Ratings as people write them."""

from typing import Any

import pytest

from kto_tui.data.labels import Rating, is_emoji, parse_label, parse_rating, says_bad, says_nothing

GOOD = [True, 1, 1.0, "true", "TRUE", " Yes ", "1", "1.0", "up", "👍", "👍🏽", "👍\ufe0f"]
GOOD += ["thumbs_up", "Thumbs Up", "thumbs-up", "ThumbsUp", ":thumbs_up:", "upvote", ":+1:"]
GOOD += ["Good", "liked", "Positive", "accepted", "chosen", "Helpful", "t", "Y", "✅", "1.00", "1,0"]
BAD = [False, 0, 0.0, -0.0, "false", "No", "0", "0.0", "down", "👎", "thumbs_down", "THUMBS  DOWN"]
BAD += [":thumbs-down:", "Bad", "disliked", "negative", "Rejected", "incorrect", "downvote", ":-1:", "F", "n"]
BAD += ["❌", "0.000", "Not helpful", "not_helpful"]
NEITHER: list[Any] = [
    "maybe",
    "",
    " ",
    "2",
    "+1",
    "-1",
    "+1.0",
    "1.01",
    "1.",
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
    ":",
    "yes" * 10**6,
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


@pytest.mark.parametrize(
    ("value", "rating"),
    [
        (4, Rating(4)),
        (-1, Rating(-1)),
        (10**400, Rating(10**400)),
        (0.5, Rating(0.5)),
        (" 4 ", Rating(4)),
        ("-0.5", Rating(-0.5)),
        ("4/5", Rating(4, 5)),
        ("4 / 5", Rating(4, 5)),
        ("4 out of 5", Rating(4, 5)),
        ("1 star", Rating(1)),
        ("4.5 Stars", Rating(4.5)),
        ("4,5", Rating(4.5)),
        ("-1,25", Rating(-1.25)),
        ("4,5/5,0", Rating(4.5, 5)),
        ("★★★☆☆", Rating(3)),
        ("☆☆", Rating(0)),
    ],
)
def test_numbers(value: Any, rating: Rating) -> None:
    assert parse_rating(value) == rating


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        None,
        "",
        " ",
        "four",
        "4-5",
        "4 of 5",
        "1e5",
        "0x4",
        "nan",
        "1,000",
        "1,5.2",
        "4/5/6",
        "٤",
        "9" * 100,
        [4],
    ],
)
def test_what_is_no_number(value: Any) -> None:
    assert parse_rating(value) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_without_end(value: float) -> None:
    assert parse_rating(value) is None
    assert parse_label(value) is None


@pytest.mark.parametrize("text", ["🎉", " ❤️ ", "🎉 🙌🏽", "👩\u200d💻", ":tada:", ":heart::rocket:", "🇫🇷"])
def test_emojis(text: str) -> None:
    assert is_emoji(text)


@pytest.mark.parametrize(
    "text", ["", " ", "good", "🎉 good", "👍", "👎🏽", "👍🎉", ":+1:", ":thumbsup::x:", "4", ":", "\u200d"]
)
def test_what_is_no_emoji_or_a_thumb(text: str) -> None:
    assert not is_emoji(text)


@pytest.mark.parametrize("text", ["", "  ", "NaN", "null", "None", " n/a", "NA"])
def test_nothing_written_out(text: str) -> None:
    assert says_nothing(text)
    assert parse_label(text) is None


@pytest.mark.parametrize(
    ("column", "bad"),
    [
        *[
            (name, True)
            for name in ("thumbs_down", "downvotes", "is_bad", "Rejected", "disliked", "incorrect")
        ],
        *[
            (name, False)
            for name in ("thumbs_up", "0", "n", "no", "rating", "badge", "downloads", "is_toxic")
        ],
    ],
)
def test_columns_that_say_what_is_bad(column: str, bad: bool) -> None:
    assert says_bad(column) is bad
