"""The frame of the printed table: banners, borders, rows of cells and rows across the whole width."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kto_tui.insight.columns import GPU_MEMORY, HOST_MEMORY
from kto_tui.insight.text import clean_text
from kto_tui.report.width import display_width, pad, wrap

Tone = Literal["plain", "dim", "good", "warning", "bad"]
TITLE = "TRAINING METRICS"
COLUMNS = (
    ("Step", 14),
    ("Loss", 10),
    ("LR", 11),
    ("Chosen", 8),
    ("Reject", 8),
    ("Margin", 8),
    (GPU_MEMORY, 10),
    ("Samp/sec", 10),
    ("ETA", 9),
)
INNER = sum(width for _, width in COLUMNS) + len(COLUMNS) - 1
WIDTH = INNER + 2
TEXT_WIDTH = INNER - 2
_COLOURS: dict[Tone, str] = {"dim": "2", "good": "32", "warning": "33", "bad": "31"}
_IN_ASCII = str.maketrans(
    {"→": "->", "…": "...", "–": "-", "—": "-", "·": "-", "×": "x", "‘": "'", "’": "'", "“": '"', "”": '"'}
)


@dataclass(frozen=True)
class Frame:
    """Draws with box characters or in ASCII, in colour or without."""

    unicode: bool = True
    color: bool = False

    def text(self, text: str) -> str:
        """Text from anywhere, made harmless and, where that is all the terminal has, ASCII."""
        text = clean_text(text)
        if self.unicode:
            return text
        return text.translate(_IN_ASCII).encode("ascii", "backslashreplace").decode()

    @property
    def ellipsis(self) -> str:
        return "…" if self.unicode else "..."

    def paint(self, text: str, tone: Tone) -> str:
        """The text in the colour of its tone. Its width is measured before."""
        code = _COLOURS.get(tone)
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and code else text

    def banner(self, title: str, tone: Tone = "plain") -> list[str]:
        """Three lines that mark the start or the end of training."""
        rule = "=" * WIDTH
        return [rule, self.paint(self.text(title), tone), rule]

    def head(self, *, on_host: bool = False) -> list[str]:
        """The table's title and the names of its columns. `on_host`: the memory is no GPU's."""
        side = self._side
        titles = ((HOST_MEMORY if on_host and name == GPU_MEMORY else name, width) for name, width in COLUMNS)
        names = side.join(f"{name:^{width}}" for name, width in titles)
        return [
            self._border("┌", "─", "┐"),
            f"{side}{TITLE:^{INNER}}{side}",
            self._border("├", "┬", "┤"),
            f"{side}{names}{side}",
            self._border("├", "┼", "┤"),
        ]

    def bottom(self) -> str:
        """The line that closes the table."""
        return self._border("└", "┴", "┘")

    def row(self, cells: Sequence[tuple[str, Tone]]) -> str:
        """One row of figures, a (text, tone) for each column."""
        side = self._side
        drawn = [
            self.paint(self._cell(text, name, width), tone)
            for (text, tone), (name, width) in zip(cells, COLUMNS, strict=True)
        ]
        return side + side.join(drawn) + side

    def _cell(self, text: str, name: str, width: int) -> str:
        """Right-aligned, one space from the border (the loss: two), closer where the text is longer."""
        text = self.text(text)
        space = max(0, min(2 if name == "Loss" else 1, width - display_width(text)))
        text = pad(text, min(display_width(text), width))
        return " " * (width - space - display_width(text)) + text + " " * space

    def note(self, text: str, tone: Tone = "plain") -> list[str]:
        """Rows across the whole width, as many as the text needs. `text` has passed `Frame.text`."""
        side = self._side
        return [f"{side} {self.paint(pad(line, TEXT_WIDTH), tone)} {side}" for line in wrap(text, TEXT_WIDTH)]

    @property
    def _side(self) -> str:
        return "│" if self.unicode else "|"

    def _border(self, left: str, joint: str, right: str) -> str:
        dash = "─" if self.unicode else "-"
        if not self.unicode:
            left, right, joint = "+", "+", "-" if joint == "─" else "+"
        return left + joint.join(dash * width for _, width in COLUMNS) + right
