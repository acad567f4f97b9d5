"""How what was found in a file is shown in an error: short, on one line, harmless to a terminal."""

import json
from collections.abc import Iterable
from typing import Any

from kto_tui.core.errors import printable

_LONGEST = 60
_MOST_NAMES = 12
_BITS = 14_000  # Python writes out no more than 4300 digits.


def shown(value: Any) -> str:
    """A value as it would stand in the file, cut at 60 characters; lists and objects by their kind."""
    if isinstance(value, str):
        return printable(json.dumps(_cut(value), ensure_ascii=False))
    if isinstance(value, int) and value.bit_length() > _BITS:
        return "a number of thousands of digits"
    if value is None or isinstance(value, (bool, int, float)):
        return _cut(json.dumps(value))
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object" if isinstance(value, dict) else f"a value of type {type(value).__name__}"


def listed(names: Iterable[Any]) -> str:
    """Column names, the first dozen of them: "a, b, c"."""
    found = list(names)
    shown_names = [printable(_cut(str(name))) or '""' for name in found[:_MOST_NAMES]]
    more = len(found) - _MOST_NAMES
    return ", ".join(shown_names) + (f" and {more} more" if more > 0 else "") if found else "none"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
