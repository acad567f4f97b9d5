"""The stream that lines are printed to: what it can show, and what happens when it goes away."""

import contextlib
import os
import select
import threading
import time
from collections import deque
from typing import Self, TextIO

QUEUED_LINES = 10_000
STALLED_SECONDS = 2.0
CLOSING_SECONDS = 5.0
_SAMPLE = "┌─┬┐│├┼┤└┴┘→…–"


def supports_unicode(stream: TextIO) -> bool:
    """Whether locale and stream have the characters that boxes are drawn with.

    In the C locale Python itself writes UTF-8, which says nothing of the terminal.
    """
    if os.environ.get("PYTHONIOENCODING") or os.environ.get("PYTHONUTF8"):
        return _encodes(stream)
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    if next((name for name in names if name), "C") in ("C", "POSIX"):
        return False
    return _encodes(stream)


def _encodes(stream: TextIO) -> bool:
    try:
        _SAMPLE.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def supports_color(stream: TextIO) -> bool:
    """Whether colours are welcome: a terminal that knows them, and nobody has set NO_COLOR."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        return stream.isatty()
    except ValueError:  # The stream is closed.
        return False


class LineWriter:
    """Writes whole lines, each flushed, and waits for its reader. Once that is gone it is silent for good.

    `gone` tells that the terminal or the pipe went away.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.gone = False

    def write(self, line: str) -> None:
        """Print one line, given without its newline."""
        if self.gone:
            return
        try:
            self._send(line + "\n")
        except (OSError, ValueError):  # Hung up, a broken pipe, a full disk, or closed.
            self.gone = True
            self._discard()

    def _send(self, text: str) -> None:
        self._stream.write(self._encoded(text).decode(self._encoding))
        self._stream.flush()

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._encoding, "backslashreplace")

    @property
    def _encoding(self) -> str:
        return self._stream.encoding or "utf-8"

    def _discard(self) -> None:
        """Send what is left in the buffer nowhere: flushing it at exit would bring the error back."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


class _DirectWriter(LineWriter):
    """Writes to the stream's descriptor, past its buffer.

    A thread that is held up in `flush` keeps the buffer locked, and Python, which flushes it once more at its
    exit, would wait for that for ever.
    """

    def _send(self, text: str) -> None:
        descriptor, rest = self._stream.fileno(), memoryview(self._encoded(text))
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:  # Somebody has made it non-blocking: the reader stalls, and is not gone.
                _wait_for_room(descriptor)


def _wait_for_room(descriptor: int) -> None:
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    room.poll()


class LineQueue:
    """Has a thread of its own write the lines: a reader who stands still holds nobody up.

    Lines come whole and in their order, each at once. While nobody reads, up to `limit` of them wait; of more
    than that the older half is dropped, and one line in their place says how many. `all_of_it` is the command
    that prints them all. `stream` is one with a descriptor; `gone` as of LineWriter.
    """

    def __init__(self, stream: TextIO, all_of_it: str, limit: int = QUEUED_LINES) -> None:
        with contextlib.suppress(OSError, ValueError):  # The first line will find the same.
            stream.flush()
        self._writer = _DirectWriter(stream)
        self._all_of_it = all_of_it
        self._limit = limit
        self._lines: deque[str] = deque()
        self._dropped = self._in_hand = 0
        self._closing = False
        self._changed = threading.Condition()
        # A daemon, as nobody can end a write that stalls: the process has to end with it under way.
        threading.Thread(target=self._work, name="printing", daemon=True).start()

    @property
    def gone(self) -> bool:
        """Whether the terminal or the pipe went away."""
        return self._writer.gone

    @property
    def unprinted(self) -> int:
        """How many lines the reader has neither taken nor been told of; 0 once it is gone."""
        with self._changed:
            return self._left()

    def write(self, line: str) -> None:
        """Have one line printed, given without its newline. Never waits."""
        with self._changed:
            if self.gone:
                return
            if len(self._lines) >= self._limit:
                self._drop((self._limit + 1) // 2)
            self._lines.append(line)
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for the lines that are left: some seconds at most, and only while the reader takes any."""
        deadline = time.monotonic() + CLOSING_SECONDS
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            while self._left() and (seconds := deadline - time.monotonic()) > 0:
                if not self._changed.wait(min(seconds, STALLED_SECONDS)):
                    return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _left(self) -> int:
        return 0 if self.gone else len(self._lines) + self._dropped + self._in_hand

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._lines.popleft()
        self._dropped += count

    def _work(self) -> None:
        while not self.gone and (line := self._next()) is not None:
            self._writer.write(line)
            with self._changed:
                self._in_hand = 0
                self._changed.notify_all()

    def _next(self) -> str | None:
        """The line to print now, waited for; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._dropped or self._closing)
            if self._dropped:
                self._in_hand, self._dropped = self._dropped, 0
                return f"{not_printed(self._in_hand)} while nobody read; all of them: {self._all_of_it}"
            if not self._lines:
                return None
            self._in_hand = 1
            return self._lines.popleft()


def not_printed(count: int) -> str:
    """How many lines are missing, as the beginning of a sentence."""
    return f"{count:,} line{' was' if count == 1 else 's were'} not printed"
