"""The terminal is given back whole, however the dashboard ends. Driven through a pty."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

import pytest
from textual.drivers._writer_thread import MAX_QUEUED_WRITES, WriterThread

from kto_tui.ui.terminal import LastingStream
from tests.ui import fake_run as fake

pytestmark = pytest.mark.terminal

SECONDS = 20.0
ENTERED = b"\x1b[?1049h"
LEFT = b"\x1b[?1049l"
MOUSE_OFF = b"\x1b[?1000l"
CURSOR_BACK = b"\x1b[?25h"


class Screen:
    """A dashboard at the far end of a pty, which is its controlling terminal if it is to hear a hang-up."""

    def __init__(self, directory: Path, *options: str, controlling: bool = True) -> None:
        self.master, self._terminal = pty.openpty()
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.modes_before = termios.tcgetattr(self._terminal)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.ui.fake_dashboard", str(directory), *options],
            stdin=self._terminal,
            stdout=self._terminal,
            stderr=self._terminal,
            start_new_session=True,
            preexec_fn=_take_terminal if controlling else None,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
        )
        self.shown = b""

    def wait_for(self, text: bytes) -> None:
        """Read until this has been shown."""
        self._read_until(lambda: text in self.shown, f"never shown: {text!r}")

    def wait_for_end(self) -> int:
        """Read until the dashboard has ended, and return its exit code."""
        self._read_until(lambda: self.process.poll() is not None, "still running")
        self._read(0.2)
        return self.process.wait()

    def modes(self) -> list[object]:
        return termios.tcgetattr(self._terminal)

    def hang_up(self) -> None:
        """Close both ends, as a dropped connection does."""
        os.close(self.master)
        os.close(self._terminal)
        self.master = self._terminal = -1

    def _read_until(self, done: object, problem: str) -> None:
        assert callable(done)
        deadline = time.monotonic() + SECONDS
        while not done():
            assert time.monotonic() < deadline, f"{problem}; shown at the end: {self.shown[-400:]!r}"
            self._read(0.1)

    def _read(self, seconds: float) -> None:
        while select.select([self.master], [], [], seconds)[0]:
            try:
                self.shown += os.read(self.master, 1 << 16)
            except OSError:
                return

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for descriptor in (self.master, self._terminal):
            if descriptor >= 0:
                os.close(descriptor)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    fake.write_events(tmp_path / "run", [*fake.opening(), *fake.training(tmp_path / "run", until=100)])
    return tmp_path / "run"


@pytest.fixture
def screen(run_directory: Path) -> Iterator[Screen]:
    opened = Screen(run_directory)
    opened.wait_for(b"100/500")
    assert ENTERED in opened.shown
    yield opened
    opened.close()


def assert_given_back(screen: Screen) -> None:
    after = screen.shown.rpartition(ENTERED)[2]
    assert LEFT in after
    assert MOUSE_OFF in after
    assert CURSOR_BACK in after.rpartition(LEFT)[2]
    assert screen.modes() == screen.modes_before


def test_quit_gives_the_terminal_back(screen: Screen) -> None:
    os.write(screen.master, b"q")
    assert screen.wait_for_end() == 0
    assert_given_back(screen)
    assert b"outcome: detached" in screen.shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(screen: Screen, number: signal.Signals) -> None:
    screen.process.send_signal(number)
    assert screen.wait_for_end() == 0
    assert_given_back(screen)
    assert b"Traceback" not in screen.shown


def test_an_exception_gives_the_terminal_back_and_is_told(run_directory: Path) -> None:
    screen = Screen(run_directory, "--raise")
    try:
        assert screen.wait_for_end() != 0
        assert_given_back(screen)
        assert b"the fake journal is broken" in screen.shown
    finally:
        screen.close()


@pytest.mark.parametrize("signalled", [True, False], ids=["with SIGHUP", "without a signal"])
def test_a_dropped_connection_ends_the_dashboard_and_not_the_run(
    run_directory: Path, signalled: bool
) -> None:
    screen = Screen(run_directory, controlling=signalled)
    try:
        screen.wait_for(b"100/500")
        screen.hang_up()
        screen.process.wait(timeout=SECONDS)
        assert not (run_directory / "commands.jsonl").exists()
    finally:
        screen.close()


def test_what_is_written_after_the_terminal_is_gone_holds_nothing_up() -> None:
    master, terminal = pty.openpty()
    stream = os.fdopen(terminal, "w")
    writer = WriterThread(cast(TextIO, LastingStream(stream)))
    writer.start()
    os.close(master)

    def draw_and_stop() -> None:
        for number in range(3 * MAX_QUEUED_WRITES):
            writer.write(f"frame {number}")
        writer.stop()

    drawing = threading.Thread(target=draw_and_stop, daemon=True)
    drawing.start()
    drawing.join(timeout=SECONDS)
    assert not drawing.is_alive()
    with contextlib.suppress(OSError):
        stream.close()
