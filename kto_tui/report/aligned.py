"""Plain tables of aligned columns, as `kto-tui runs` prints them."""

from collections.abc import Sequence
from typing import Literal

from kto_tui.report.width import display_width

Side = Literal["left", "right"]
_GAP = "  "


def aligned(rows: Sequence[Sequence[str]], sides: Sequence[Side]) -> list[str]:
    """The rows as lines, each column as wide as its widest text."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(
            _placed(text, width, side) for text, width, side in zip(row, widths, sides, strict=True)
        ).rstrip()
        for row in rows
    ]


def _placed(text: str, width: int, side: Side) -> str:
    space = " " * (width - display_width(text))
    return text + space if side == "left" else space + text
