"""How numbers and outside text are written."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kto_tui.insight import text

FORMATTERS: list[Callable[[float | None], str]] = [
    text.format_metric,
    text.format_loss,
    text.format_rate,
    text.format_learning_rate,
    text.format_percent,
    text.format_whole,
    text.format_duration,
    text.format_seconds,
    text.format_bytes,
    text.format_memory,
    text.format_count,
]


@pytest.mark.parametrize("format_value", FORMATTERS)
def test_what_is_no_number_is_said(format_value: Callable[[float | None], str]) -> None:
    assert format_value(None) == "–"
    assert [format_value(value) for value in (math.nan, math.inf, -math.inf)] == ["nan"] * 3


@pytest.mark.parametrize(
    ("function", "value", "written"),
    [
        (text.format_metric, 0.5412, "0.541"),
        (text.format_metric, -0.2741, "-0.274"),
        (text.format_metric, -0.0001, "0.000"),
        (text.format_metric, 123456.0, "1.23e+05"),
        (text.format_loss, 0.46213, "0.4621"),
        (text.format_loss, -9999.1234, "-9999.123"),
        (text.format_loss, 999.5, "999.5000"),
        (text.format_learning_rate, 4.5e-7, "4.50e-07"),
        (text.format_learning_rate, 0.0, "0.00e+00"),
        (text.format_rate, 1.314, "1.3"),
        (text.format_rate, 0.0412, "0.041"),
        (text.format_rate, 0.0, "0.0"),
        (text.format_rate, 12_345.0, "12,345"),
        (text.format_whole, 131_072.0, "131,072"),
        (text.format_percent, 131_072.0, "1e+05%"),
        (text.format_duration, 0.0, "0s"),
        (text.format_duration, -3.0, "0s"),
        (text.format_duration, 59.9, "59s"),
        (text.format_duration, 185.0, "3m 05s"),
        (text.format_duration, 11_160.0, "3h 06m"),
        (text.format_duration, 187_200.0, "2d 04h"),
        (text.format_seconds, 2.14, "2.1 s"),
        (text.format_seconds, 65.0, "1m 05s"),
        (text.format_bytes, 0, "0 B"),
        (text.format_bytes, 820_400, "820 kB"),
        (text.format_bytes, 1_340_000_000, "1.3 GB"),
        (text.format_bytes, 999_999_999, "1.0 GB"),
        (text.format_memory, 21.4 * 2**30, "21.4GB"),
        (text.format_memory, 512 * 2**20, "512MB"),
        (text.format_count, 7_248_023_552, "7.25B"),
        (text.format_count, 134_515_008, "135M"),
    ],
)
def test_formats(function: Callable[[float | None], str], value: float, written: str) -> None:
    assert function(value) == written


@pytest.mark.parametrize(
    "value",
    [
        1e308, -1e308, 5e-324, -5e-324, 1e-308, -1e-308, 1e18, -1e18, 9999.9999, -9999.99996, 99_999.5,
        999.9996, -999.99996, 99_999_999_999_999, 2.0**53, 8.64e6, 8.6399e8, 0.95 * 2**30, 999.97 * 2**30,
        99_999.7 * 2**30,
    ],
)  # fmt: skip
def test_no_figure_is_wider_than_its_column(value: float) -> None:
    wide = {
        text.format_metric: 10, text.format_loss: 10, text.format_rate: 8, text.format_learning_rate: 8,
        text.format_percent: 8, text.format_whole: 10, text.format_duration: 7, text.format_seconds: 7,
        text.format_bytes: 8, text.format_memory: 7, text.format_count: 8,
    }  # fmt: skip
    for format_value in FORMATTERS:
        assert len(format_value(value)) <= wide[format_value], format_value


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_a_lesser_figure_is_no_wider(value: float, share: float) -> None:
    """The columns of the dashboard's table grow with their largest figures alone."""
    for format_value in (text.format_metric, text.format_loss):
        widest = max(len(format_value(abs(value))), len(format_value(0.0)))
        assert len(format_value(abs(value) * share)) <= max(widest, 6)


def test_a_null_metric_is_nan_and_a_missing_one_none() -> None:
    assert text.metric({"kl": 0.5}, "kl") == 0.5
    assert text.metric({}, "kl") is None
    null = text.metric({"kl": None}, "kl")
    assert null is not None
    assert math.isnan(null)


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("plain", "plain"),
        ("two\nlines\tand\r\nmore", "two lines and more"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("left\u202eright", "leftright"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("unfinished \x1b", "unfinished"),
        ("in\u200bvis\u2060ible\U000e0041", "invisible"),
        ("x" * 5000, "x" * 4095 + "…"),
        ("[bold]markup stays text[/]", "[bold]markup stays text[/]"),
        ("日本語 ü", "日本語 ü"),
    ],
)
def test_clean_text(dirty: str, clean: str) -> None:
    assert text.clean_text(dirty) == clean


def test_clean_text_leaves_nothing_that_controls_a_terminal() -> None:
    dirty = "".join(f"a{chr(code)}[3{chr(code)}1m" for code in range(0xFFFF))
    clean = text.clean_text(dirty)
    assert not any(ord(character) < 32 or 0x7F <= ord(character) <= 0x9F for character in clean)
    clean.encode("utf-8")
    assert text.clean_text(clean) == clean


@pytest.mark.parametrize("unit", ["\x9d", "\x90", "\x1b]", "\x1b[", "\x9b", "\x1bP", "\x9d\x90", "\x1b]\x9e"])
def test_very_long_text_is_cleaned_at_once(unit: str) -> None:
    assert text.clean_text(unit * 500_000) in ("", "…")
    assert text.clean_text(unit * 500_000, longest=10**7) == ""


def test_clean_lines_are_as_a_terminal_would_leave_them() -> None:
    assert text.clean_lines("  a\n\n10%\r90%\r\n\x1b[31mred\x1b[0m") == ("  a", "90%", "red")
    assert text.clean_lines(" " * 1000 + "x") == (" " * 80 + "x",)
