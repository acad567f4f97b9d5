"""The end of run.log, for when a run has come to grief."""

from pathlib import Path

from kto_tui.insight.text import clean_lines

LOG_LINES = 15
_LOG_BYTES = 64 * 1024


def log_tail(path: Path, lines: int = LOG_LINES) -> tuple[str, ...]:
    """The last lines of a log that say something, safe to show. None if it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ()
    return clean_lines(text)[-lines:]
