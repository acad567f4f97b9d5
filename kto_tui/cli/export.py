"""Being written."""

from collections.abc import Mapping
from typing import Any


def export(options: Mapping[str, Any]) -> int:
    """Being written."""
    raise NotImplementedError(sorted(options))
