"""The end of run.log, for when a run has come to grief."""

import os
from pathlib import Path

from kto_tui.insight.text import clean_lines

LOG_LINES = 15
_LOG_BYTES = 64 * 1024


def log_tail(path: Path, lines: int = LOG_LINES) -> tuple[str, ...]:
    """The last lines of a log that say something, safe to show. None if it cannot be read."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return clean_lines(text)[-lines:]


def _without_waiting(path: str, flags: int) -> int:
    """A pipe in place of the log would keep its reader waiting. It cannot be sought in: an OSError."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
