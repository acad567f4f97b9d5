"""Two answers that grow, as a terminal shows them: side by side, or one after the other."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from kto_tui.report.width import display_width, pad

SIDE_BY_SIDE = 100
_JOINERS = "\u200c\u200d"  # Letters of some scripts, and some emojis, are made with them.
_BREAKS = "\x0b\x0c\r\x1c\x1d\x1e\x1f\x85\u2028\u2029"
_TORN = re.compile(r"\\(x[0-9a-f]?|u[0-9a-f]{0,3}|U[0-9a-f]{0,7})?\Z")
_CLEAR = "\r\x1b[K"

Write = Callable[[str], object]


class View(Protocol):
    """Shows the answers to one question. The names in `headings` are those of who answers."""

    def add(self, who: str, text: str) -> None:
        """An answer has grown by this."""

    def ended(self, who: str) -> None:
        """This answer grows no more."""

    def end(self) -> None:
        """No answer grows any more."""


def harmless(text: str) -> str:
    """Text of a model as a terminal may have it: line ends stay, what is no visible character is escaped.

    Each character is taken by itself, so that the text may come in pieces.
    """
    return "".join(map(_harmless, text))


def _harmless(char: str) -> str:
    if char == "\n" or char.isprintable() or char in _JOINERS:
        return char
    if char == "\t":
        return "    "
    return " " if char.isspace() and char not in _BREAKS else ascii(char)[1:-1]


class OneAfterTheOther:
    """Each answer below its heading, as long as it is.

    `width`: of a terminal, which lines are broken for at spaces; None for what is no terminal.
    """

    def __init__(self, write: Write, headings: Mapping[str, str], width: int | None = None) -> None:
        self._write = write
        self._width = width
        self._headings = headings
        self._shown: list[str] = []
        self._in_line, self._line = False, ""

    def add(self, who: str, text: str) -> None:
        if not self._shown or self._shown[-1] != who:
            self._head(who)
        if not text:
            return
        self._in_line = not text.endswith("\n")
        if self._width is None:
            self._write(harmless(text))
            return
        lines = wrapped(self._line + harmless(text), self._width - 1)
        self._write(_CLEAR + "\n".join(lines))
        self._line = lines[-1]

    def ended(self, who: str) -> None:
        pass  # What comes next has a heading of its own.

    def end(self) -> None:
        for who in self._headings:
            if who not in self._shown:
                self._head(who)
        self._close()

    def _head(self, who: str) -> None:
        self._close()
        self._write(f"── {self._headings[who]} ──\n")
        self._shown.append(who)

    def _close(self) -> None:
        if self._in_line:
            self._write("\n")
        self._in_line, self._line = False, ""


class SideBySide:
    """A column each. A row is written once no column can change it any more, the one below again and again.

    `unicode`: whether the terminal can draw lines.
    """

    def __init__(
        self, write: Write, headings: Mapping[str, str], width: int, *, unicode: bool = True
    ) -> None:
        self._write = write
        self._between = " │ " if unicode else " | "
        # A full last column would have the terminal begin a line of its own.
        self._width = (width - 1 - 3 * (len(headings) - 1)) // len(headings)
        self._lines: dict[str, list[str]] = {who: [""] for who in headings}
        self._growing = set(headings)
        self._rows = 0
        write(self._row(list(headings.values())) + "\n")
        line, cross = ("─", "─┼─") if unicode else ("-", "-+-")
        write(cross.join(line * self._width for _ in headings) + "\n")

    def add(self, who: str, text: str) -> None:
        lines = self._lines[who]
        last = lines.pop()
        lines += wrapped(last + harmless(text), self._width)
        self._draw_whole()

    def ended(self, who: str) -> None:
        self._growing.discard(who)
        self._draw_whole()

    def end(self) -> None:
        self._draw(max(len(known) for known in self._lines.values()))
        self._write(_CLEAR)

    def _draw_whole(self) -> None:
        """Write the rows that only answers that have ended could still change."""
        if self._growing:
            self._draw(min(len(self._lines[who]) - 1 for who in self._growing))

    def _draw(self, whole: int) -> None:
        """Write the rows up to `whole`, and the one after it for the time being."""
        written = [self._at(index) + "\n" for index in range(self._rows, whole)]
        self._rows = max(self._rows, whole)
        self._write(_CLEAR + "".join(written) + self._at(self._rows).rstrip())

    def _at(self, index: int) -> str:
        return self._row([lines[index] if index < len(lines) else "" for lines in self._lines.values()])

    def _row(self, cells: Sequence[str]) -> str:
        return self._between.join(pad(cell, self._width) for cell in cells)


def _before_escape(head: str) -> int:
    """Where to cut, so that an escape that the head ends in is not torn."""
    torn = _TORN.search(head)
    return torn.start() if torn and torn.start() else len(head)


def wrapped(text: str, width: int) -> list[str]:
    """The text's lines, none wider than `width` cells; as the text grows, only the last of them changes."""
    return [line for paragraph in text.split("\n") for line in _wrapped(paragraph, width)]


def _wrapped(paragraph: str, width: int) -> list[str]:
    lines = []
    while display_width(paragraph) > width:
        head = pad(paragraph, width).rstrip(" ")
        head = paragraph[: len(head)] or paragraph[:1]
        space = -1 if paragraph[len(head) :].startswith(" ") else head.rfind(" ")
        cut = _before_escape(head) if space < 1 else space
        lines.append(paragraph[:cut].rstrip(" "))
        paragraph = paragraph[cut:].lstrip(" ")
    return [*lines, paragraph]
