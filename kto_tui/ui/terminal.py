"""Giving the terminal back on signals that Textual does not handle, and noticing that it is gone."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable


def exit_on_signals(leave: Callable[[], None]) -> None:
    """Call `leave` on SIGTERM and SIGHUP. Must be called inside the app's event loop.

    Without it these leave the alternate screen and mouse reporting switched on. Where a loop takes no
    signal handlers (Windows, a loop outside the main thread) nothing is done.
    """
    loop = asyncio.get_running_loop()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, leave)


class Terminal:
    """Notices that the terminal of standard input has hung up, for when no signal says so."""

    def __init__(self) -> None:
        self._was_there = _stdin_is_terminal()

    def is_gone(self) -> bool:
        """Whether there was a terminal and there is none any more. Costs one system call."""
        return self._was_there and not _stdin_is_terminal()


def _stdin_is_terminal() -> bool:
    try:
        return sys.__stdin__ is not None and os.isatty(sys.__stdin__.fileno())
    except (OSError, ValueError):
        return False


def prefers_light() -> bool:
    """Whether COLORFGBG, which rxvt, Konsole and others set, says that the background is light."""
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15")
