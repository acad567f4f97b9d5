"""Text measured in terminal cells."""

import pytest
from rich.cells import cell_len

from kto_tui.report.width import display_width, pad, shorten, wrap

TEXTS = [
    "",
    "plain",
    "/a/path/to/checkpoint-50",
    "字字字字字字字字",
    "Größe",
    "e\u0301e\u0301",
    "🎉 party",
    "ＡＢ",
]


@pytest.mark.parametrize("text", TEXTS)
def test_width_is_the_terminal_s(text: str) -> None:
    assert display_width(text) == cell_len(text)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("width", range(24))
def test_padded_text_has_the_width(text: str, width: int) -> None:
    assert display_width(pad(text, width)) == width


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("width", range(24))
def test_shortened_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = shorten(text, width)
    assert display_width(short) <= width
    if display_width(text) <= width:
        assert short == text
    elif width > 6:
        assert "…" in short
        assert (short[0], short[-1]) == (text[0], text[-1])


@pytest.mark.parametrize("text", [*TEXTS, "one two three four five six", "x" * 50, "ab " * 20, "字 " * 20])
@pytest.mark.parametrize("width", [8, 13, 40])
def test_wrapped_lines_fit_and_lose_nothing(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(display_width(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(line.startswith("  ") for line in lines[1:])
