"""Being written."""

from collections.abc import Mapping
from typing import Any


def chat(options: Mapping[str, Any]) -> int:
    """Being written."""
    raise NotImplementedError(sorted(options))
