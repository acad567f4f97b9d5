"""Characters that no one means to train on: byte order marks, NUL and other controls, halves of pairs."""

import re
from typing import Any

from kto_tui.data.formats import Format
from kto_tui.data.rows import Row

_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ud800-\udfff]")


def cleaned(value: Any) -> Any:
    """A value of JSON without them in any of its texts; the value itself where there is none."""
    if isinstance(value, str):
        return _UNWANTED.sub("", value) if _UNWANTED.search(value) else value
    if isinstance(value, list):
        parts = [cleaned(part) for part in value]
        return parts if any(new is not old for new, old in zip(parts, value, strict=True)) else value
    if isinstance(value, dict):
        inner = {key: cleaned(part) for key, part in value.items()}
        return inner if any(inner[key] is not part for key, part in value.items()) else value
    return value


class Cleaning:
    """A format, of records without those characters. `count`: the records that held any."""

    def __init__(self, inner: Format) -> None:
        self._inner = inner
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        """Whatever else is asked of a format."""
        return getattr(self._inner, name)

    def rows(self, record: Any, where: str) -> list[Row]:
        """The rows of the record, as the format raises them."""
        without = cleaned(record)
        self.count += without is not record
        return self._inner.rows(without, where)
