"""Pieces of outside text as Textual content: styled, never parsed as markup."""

from collections.abc import Iterable

from textual.content import Content

from kto_tui.insight.lines import Line, Tone
from kto_tui.insight.view import Shown

TONES: dict[Tone, str] = {
    "plain": "",
    "dim": "$foreground 60%",
    "good": "$text-success",
    "warning": "$text-warning",
    "bad": "bold $text-error",
}
# Each status: its mark, which tells it apart without colour, and the tone of its badge.
STATUS: dict[Shown, tuple[str, str]] = {
    "reading": ("…", "$foreground 60%"),
    "starting": ("○", "bold $text-primary"),
    "restarting": ("○", "bold $text-warning"),
    "running": ("●", "bold $text-success"),
    "paused": ("‖", "bold $text-warning"),
    "parked": ("‖", "bold $text-warning"),
    "completed": ("✓", "bold $text-success"),
    "stopped": ("■", "bold $text-warning"),
    "failed": ("✗", "bold $text-error"),
    "died": ("✗", "bold $text-error"),
}


def to_content(line: Line) -> Content:
    """One line of pieces."""
    return Content.assemble(*((piece.text, TONES[piece.tone]) for piece in line))


def to_text(lines: Iterable[Line]) -> Content:
    """Several lines, one below the other."""
    return Content("\n").join([to_content(line) for line in lines])
