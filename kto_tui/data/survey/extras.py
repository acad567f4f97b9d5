"""What rows hold beside their text, and not every chat template has a place for: tools, calls, reasoning."""

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kto_tui.data.rows import Message, Row

TOOLS, CALLS, REASONING = "tools", "calls of tools", "reasoning of answers"
_CALL_KEYS = ("tool_calls", "function_calls")
_REASONING_KEYS = ("reasoning_content", "thinking", "reasoning", "tool_plan")


def extras_of(row: Row) -> list[str]:
    """What of it this row holds. Reasoning of earlier turns is none: templates leave that out on purpose."""
    found = [TOOLS] if row.tools else []
    if isinstance(row.prompt, str) or isinstance(row.completion, str):
        return found
    if _holds(row.prompt, _CALL_KEYS) or _holds(row.completion, _CALL_KEYS):
        found.append(CALLS)
    if _holds(row.completion, _REASONING_KEYS):
        found.append(REASONING)
    return found


def without(row: Row, kind: str) -> Row:
    """The row as it is without this."""
    if kind == TOOLS:
        return Row(row.prompt, row.completion, row.label, row.where)
    keys = _CALL_KEYS if kind == CALLS else _REASONING_KEYS
    return Row(_without(row.prompt, keys), _without(row.completion, keys), row.label, row.where, row.tools)


def _holds(messages: list[Message], keys: tuple[str, ...]) -> bool:
    return any(message.get(key) for message in messages if len(message) > 2 for key in keys)


def _without(messages: Any, keys: tuple[str, ...]) -> Any:
    return [{key: value for key, value in message.items() if key not in keys} for message in messages]


class Extras:
    """Takes note of the rows that hold something of it, and keeps the first row of each source that does.

    `first`: that row by kind and source.
    """

    def __init__(self) -> None:
        self.first: dict[tuple[str, int], Row] = {}
        self._rows: dict[str, array[int]] = {}
        self._only_calls = array("I")

    def add(self, row: Row, number: int, source: int, *, says_nothing: bool) -> None:
        """Note the row of this number. `says_nothing`: its answer holds no text."""
        kinds = extras_of(row)
        for kind in kinds:
            self._rows.setdefault(kind, array("I")).append(number)
            self.first.setdefault((kind, source), row)
        if says_nothing and CALLS in kinds:
            self._only_calls.append(number)

    def rows(self, kind: str) -> NDArray[np.int64]:
        """(some,) numbers of the rows that hold it."""
        return np.array(self._rows.get(kind, ()), dtype=np.int64)

    @property
    def only_calls(self) -> NDArray[np.int64]:
        """(some,) numbers of the rows whose answers are calls and no text."""
        return np.array(self._only_calls, dtype=np.int64)
