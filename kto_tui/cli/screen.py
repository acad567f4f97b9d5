"""The user's terminal: whether there is one, and what is said on it before and after a dashboard."""

import contextlib
import os
import sys
from pathlib import Path

from kto_tui.core.errors import WRONG_REQUEST, UserError, printable
from kto_tui.core.events import RunEnded
from kto_tui.insight.text import clean_text
from kto_tui.insight.view import resume_command


def has_screen() -> bool:
    """Whether there is a terminal that a dashboard can be drawn on."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def say(line: str) -> None:
    """One line to the user's terminal, as far as there still is one."""
    with contextlib.suppress(OSError):
        print(clean_text(line), flush=True)  # noqa: T201


def warn(line: str) -> None:
    """One line to stderr, as far as there still is one."""
    with contextlib.suppress(OSError):
        print(f"kto-tui: {printable(line)}", file=sys.stderr, flush=True)  # noqa: T201


def say_died(directory: Path) -> int:
    """Say that nobody holds the run though it did not end. Returns the exit code."""
    say(f"The run has died. Go on with: {resume_command(directory)}")
    return 1


def raise_if_refused(ended: RunEnded) -> None:
    """A request that only the worker could find wrong is told like any other. Raises UserError."""
    if ended.exit_code == WRONG_REQUEST:
        raise UserError(ended.error or "the request was wrong")
