"""The rating of a row, in the ways that people and their tools write it."""

import math
import re
import unicodedata
from typing import Any, NamedTuple

EXPECTED = "true/false, 0/1, yes/no"

_WORDS = {
    **dict.fromkeys(("true", "yes", "t", "y", "1", "up", "thumbs up", "thumbsup", "upvote", "👍"), True),
    **dict.fromkeys(("good", "like", "liked", "positive", "correct", "helpful", "desirable"), True),
    **dict.fromkeys(("accept", "accepted", "chosen", "✅"), True),
    **dict.fromkeys(
        ("false", "no", "f", "n", "0", "down", "thumbs down", "thumbsdown", "downvote", "👎", "❌"), False
    ),
    **dict.fromkeys(
        ("bad", "dislike", "disliked", "negative", "incorrect", "unhelpful", "not helpful", "undesirable"),
        False,
    ),
    **dict.fromkeys(("reject", "rejected"), False),
}
_NOTHING = ("", "null", "none", "nan", "n/a", "na", "nil")  # As tables and tools write that nothing is there.
_ONE = re.compile("([01])(?:[.,]0{1,18})?")
_SHORT = {":+1:": "👍", ":-1:": "👎"}
# A thumb may carry a skin tone, and the mark that asks for a coloured picture.
_DECORATION = re.compile("[\ufe0f\U0001f3fb-\U0001f3ff]")
_NAMED = re.compile(r"(?::[a-z0-9_+-]+:\s*)+")
# What emojis are made of: pictures, skin tones, and joints and marks of presentation.
_OF_EMOJIS = ("So", "Sk", "Cf", "Mn")
_THUMBS = "👍👎"
_JOINT = re.compile(r"(?<=[a-z])[\s_-]+(?=[a-z])")
# A comma before one or two digits is what Europeans have for a point; before three it may part thousands.
_NUMBER = r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18}|,[0-9]{1,2})?"
_RATING = re.compile(rf"({_NUMBER})(?: ?(?:/|out of) ?({_NUMBER})| ?stars?)?")
_STARS = re.compile("([★⭐]*)☆*")
_LONGEST = 60


class Rating(NamedTuple):
    """A rating as a number: 4 of "4", "4 stars" and "4/5", which says beside that it is out of 5."""

    value: float
    out_of: float | None = None


def parse_label(value: Any) -> bool | None:
    """Whether the rating says desirable; None if it cannot be told.

    Numbers are 0 and 1 alone: -1 may as well mean "not rated", and of -1, 0 and 1 nobody can tell what 0
    means. Such scores need --desirable-at-least 1, which makes 0 and -1 undesirable.
    """
    if isinstance(value, str):
        return _word(value) if len(value) <= _LONGEST else None
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    return None


def parse_rating(value: Any) -> Rating | None:
    """The rating as a number; None if it is none, as true and false are."""
    if isinstance(value, str):
        return _rating(value.strip().lower()) if len(value) <= _LONGEST else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return Rating(value) if isinstance(value, int) or math.isfinite(value) else None


def says_nothing(text: str) -> bool:
    """Whether a cell of a table is empty, also where that is written out."""
    return text.strip().lower() in _NOTHING


def says_bad(column: str) -> bool:
    """Whether a column is named for what is wrong with an answer, as "thumbs_down" is."""
    name = column.lower().removeprefix("is_").replace("_", " ").replace("-", " ")
    return len(name) > 2 and False in (_word(name), _word(name.removesuffix("s")))


def is_emoji(text: str) -> bool:
    """Whether it is emojis alone, as pictures or by their names (":tada:"), and no thumb is among them."""
    text = text.strip().lower()
    if _NAMED.fullmatch(text):
        return "thumb" not in text and ":+1:" not in text and ":-1:" not in text
    kinds = [unicodedata.category(char) for char in text if not char.isspace()]
    return "So" in kinds and all(kind in _OF_EMOJIS for kind in kinds) and not set(text) & set(_THUMBS)


def _word(text: str) -> bool | None:
    plain = _DECORATION.sub("", text).strip().lower()
    if len(plain) > 2 and plain[0] == plain[-1] == ":":  # An emoji by its name.
        plain = _SHORT.get(plain, plain[1:-1])
    if plain[:1] in ("0", "1") and (one := _ONE.fullmatch(plain)):
        return one[1] == "1"
    return _WORDS.get(_JOINT.sub(" ", plain))


def _rating(text: str) -> Rating | None:
    if found := _RATING.fullmatch(text):
        value, out_of = (float(part.replace(",", ".")) if part else None for part in found.groups())
        return None if value is None else Rating(value, out_of)
    text = _DECORATION.sub("", text)
    if text and (stars := _STARS.fullmatch(text)):
        return Rating(float(len(stars[1])))
    return None
