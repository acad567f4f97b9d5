"""JSON with strict objects: a key that stands twice is refused, since one of its values would be lost."""

import json
from typing import Any

from kto_tui.core.errors import printable
from kto_tui.data.wording import shown


class RepeatedKey(ValueError):
    """A key stands twice in one object."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RepeatedKey(key)
            seen.add(key)
    return record


DECODER = json.JSONDecoder(object_pairs_hook=_distinct)
BROKEN = (ValueError, RecursionError)  # What DECODER raises.


def is_cut(error: json.JSONDecodeError, text: str) -> bool:
    """Whether the text is broken only by its end."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip())


def problem(error: BaseException) -> str:
    """What is wrong with the text, from one of the exceptions of DECODER."""
    match error:
        case json.JSONDecodeError():
            return f"not JSON: {printable(error.msg)}"
        case RecursionError():
            return "lists or objects are nested too deeply"
        case RepeatedKey():
            return f"{shown(error.args[0])} stands twice in one object; remove one"
    return f"not JSON that can be read: {printable(str(error))}"  # A number with thousands of digits.
