"""Giving the terminal back on signals that Textual does not handle, and noticing that it is gone."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, TypeVar

from textual.app import App

Answer = TypeVar("Answer")


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


class LastingStream:
    """A terminal's stream that takes what is written even when the terminal is gone.

    Textual's writer thread ends at the first failed write, and whoever writes on then waits for it for
    ever: the dashboard of a dropped connection would stay behind as a process that never ends.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, as far as there is anything to write to."""
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, likewise."""
        with contextlib.suppress(OSError):
            self._stream.flush()


@contextlib.contextmanager
def lasting_terminal() -> Iterator[None]:
    """Within, Textual (which draws on `sys.__stderr__`) outlives the loss of its terminal."""
    before = sys.__stderr__
    if before is not None:
        setattr(sys, "__stderr__", LastingStream(before))  # noqa: B010
    try:
        yield
    finally:
        setattr(sys, "__stderr__", before)  # noqa: B010


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


class TerminalApp(App[Answer]):
    """An app that gives its terminal back however it ends, and ends when its terminal is gone."""

    TITLE = "kto-tui"
    CSS_PATH = "theme.tcss"

    def __init__(self) -> None:
        super().__init__()
        # A smooth scroll is many frames over a slow line, and shows nothing more.
        self.animation_level = "none"
        self._terminal = Terminal()
        if prefers_light() and self.theme == "textual-dark":
            self.theme = "textual-light"

    def run(self, *arguments: Any, **options: Any) -> Answer | None:
        """Draw until it is left. Returns the answer, or None after a crash."""
        with lasting_terminal():
            return super().run(*arguments, **options)

    def on_mount(self) -> None:
        exit_on_signals(self.leave)
        self.set_interval(1.0, self._check_terminal)

    def leave(self) -> None:
        """End without having been asked to."""
        self.exit()

    def _check_terminal(self) -> None:
        if self._terminal.is_gone():
            self.leave()

    async def action_quit(self) -> None:
        self.leave()
