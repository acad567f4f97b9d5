"""The stream that lines are printed to: what it can show, and what happens when it goes away."""

import contextlib
import os
from typing import TextIO

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
    """Writes whole lines, each flushed. Once the reader is gone it is silent for good.

    `gone` tells that the terminal or the pipe went away: the run goes on without it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.gone = False

    def write(self, line: str) -> None:
        """Print one line, given without its newline."""
        if self.gone:
            return
        try:
            self._stream.write(self._encodable(line) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # Hung up, a broken pipe, a full disk, or closed.
            self.gone = True
            self._discard()

    def _encodable(self, line: str) -> str:
        encoding = self._stream.encoding or "utf-8"
        return line.encode(encoding, "backslashreplace").decode(encoding)

    def _discard(self) -> None:
        """Send what is left in the buffer nowhere: flushing it at exit would bring the error back."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
