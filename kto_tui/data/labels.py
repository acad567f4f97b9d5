"""The rating of a row, in the ways that people write it."""

import re
from typing import Any

EXPECTED = "true/false, 0/1, yes/no"

_WORDS = {
    **dict.fromkeys(("true", "yes", "1", "1.0", "up", "thumbs up", "thumbsup", "👍"), True),
    **dict.fromkeys(("false", "no", "0", "0.0", "down", "thumbs down", "thumbsdown", "👎"), False),
}
# A thumb may carry a skin tone, and the mark that asks for a coloured picture.
_DECORATION = re.compile("[\ufe0f\U0001f3fb-\U0001f3ff]")
_JOINT = re.compile(r"(?<=[a-z])[\s_-]+(?=[a-z])")


def parse_label(value: Any) -> bool | None:
    """Whether the rating says desirable; None if it cannot be told.

    Numbers are 0 and 1 alone: -1 may as well mean "not rated".
    """
    if isinstance(value, str):
        return _WORDS.get(_JOINT.sub(" ", _DECORATION.sub("", value).strip().lower()))
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    return None
