"""How numbers and outside text are written, the same on the dashboard and in the printed table."""

import math
import re
from collections.abc import Mapping

from kto_tui.core.sizes import format_size

MISSING = "–"
NOT_FINITE = "nan"
AUC = "rewards/auc"
# Longer than any path that can be opened.
LONGEST_TEXT = 4096
_GIB = 1 << 30
_MIB = 1 << 20
_DAY = 86_400
_MOST_INDENT = 80

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\x9d]*(?:\x07|\x1b\\|\x9c)"  # OSC: titles, links
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x90\x98\x9c\x9e\x9f]*(?:\x1b\\|\x9c)"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]"
)
_SPACES = re.compile(r"[\s\x85\u2028\u2029]+")
# Controls, the marks that turn the direction of what follows them, and what nobody can see.
_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f]"
)
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def metric(metrics: Mapping[str, float | None], key: str) -> float | None:
    """A metric as the formatters take it: None if the key is missing, nan if its value is null."""
    if key not in metrics:
        return None
    value = metrics[key]
    return math.nan if value is None else value


def _special(value: float | None) -> str | None:
    """What stands for a value that is no number, or None for a number."""
    if value is None:
        return MISSING
    return None if math.isfinite(value) else NOT_FINITE


def _decimals(value: float | None, places: int) -> str:
    """Fixed decimals, three at most from 1,000 on, scientific from 10,000 on, so that a column holds.

    Never "-0.000".
    """
    if (special := _special(value)) is not None:
        return special
    assert value is not None
    if abs(value) >= 9999.5:
        return f"{value:.2e}"
    text = f"{value:.{places}f}"
    if len(text.lstrip("-")) > 8:
        text = f"{value:.3f}"
    return text[1:] if float(text) == 0 and text.startswith("-") else text


def _shortest(value: float, width: int, *places: int) -> str:
    """In powers of ten, with as many of these places as fit."""
    texts = [f"{value:.{count}e}" for count in (*places, 0)]
    return next((text for text in texts if len(text) <= width), texts[-1])


def format_metric(value: float | None) -> str:
    """A reward, margin or KL: "0.541", "-0.274"."""
    return _decimals(value, 3)


def format_loss(value: float | None) -> str:
    """A loss: "0.4621"."""
    return _decimals(value, 4)


def format_rate(value: float | None) -> str:
    """Samples a second and the like: "1.3", "0.041", "120"."""
    if (special := _special(value)) is not None:
        return special
    assert value is not None
    if 0 < abs(value) < 0.995:
        return f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}"
    if abs(value) < 99.95:
        return f"{value:.1f}"
    return f"{value:,.0f}" if abs(value) < 99_999.5 else _shortest(value, 8, 1)


def format_learning_rate(value: float | None) -> str:
    """A learning rate: "4.50e-07"."""
    if (special := _special(value)) is not None:
        return special
    assert value is not None
    return _shortest(value, 8, 2, 1)


def format_percent(value: float | None) -> str:
    """A share of a hundred: "87%"; at most eight cells."""
    if (special := _special(value)) is not None:
        return special
    assert value is not None
    return f"{value:.0f}%" if abs(value) < 99_999.5 else f"{value:.0e}%"


def format_whole(value: float | None) -> str:
    """A figure without decimals, however large: "205", "131,072", "1e+30"; at most ten cells."""
    if (special := _special(value)) is not None:
        return special
    assert value is not None
    return f"{value:,.0f}" if abs(value) < 9_999_999.5 else f"{value:.0e}"


def format_duration(seconds: float | None) -> str:
    """A length of time, rounded down: "42s", "3m 05s", "3h 06m", "2d 04h", "250d"; at most seven cells."""
    if (special := _special(seconds)) is not None:
        return special
    assert seconds is not None
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < _DAY:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    if whole < 100 * _DAY:
        return f"{whole // _DAY}d {whole % _DAY // 3600:02d}h"
    return f"{whole // _DAY}d" if whole < 10_000 * _DAY else ">9999d"


def format_seconds(seconds: float | None) -> str:
    """A short time with its tenths, as for writing a checkpoint: "2.1 s"; from a minute as a duration."""
    if seconds is not None and math.isfinite(seconds) and seconds < 59.95:
        return f"{max(0.0, seconds):.1f} s"
    return format_duration(seconds)


def format_bytes(size: float | None) -> str:
    """A size on disk, decimal as disks are sold: "1.3 GB", "820 MB", "64 kB"."""
    if (special := _special(size)) is not None:
        return special
    assert size is not None
    if size < 0:
        return MISSING  # Nothing takes less room than none.
    return f"{size:.0e} B" if size >= 9999.5e12 else format_size(size)


def format_memory(size: float | None) -> str:
    """Memory in GiB with the short unit that nvidia-smi's users expect: "21.4GB", "512MB".

    Seven cells at most.
    """
    if (special := _special(size)) is not None:
        return special
    assert size is not None
    if size < 0:
        return MISSING
    if size >= 999.95 * _GIB:
        return f"{size / _GIB:.0f}GB" if size < 99_999.5 * _GIB else ">99TB"
    return f"{size / _GIB:.1f}GB" if size >= 0.95 * _GIB else f"{size / _MIB:.0f}MB"


def format_count(count: float | None) -> str:
    """A number of parameters: "7.25B", "135M", "41.9M", "820k"."""
    if (special := _special(count)) is not None:
        return special
    assert count is not None
    if abs(count) >= 9999.5e9:
        return f"{count:.0e}"
    for unit, scale in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g}{unit}" if count < 999.5 * scale else f"{count / scale:.0f}{unit}"
    return f"{count:.0f}"


def clean_text(text: str, longest: int = LONGEST_TEXT) -> str:
    """Text from outside on one line: no escapes, no controls, nothing a terminal cannot be sent.

    At most `longest` characters of it.
    """
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    text = _SPACES.sub(" ", _ESCAPES.sub("", text))
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text)).strip()


def clean_lines(text: str) -> tuple[str, ...]:
    """Text from outside as a terminal would leave its lines: clean, indented, the blank ones left out."""
    shown = (_as_seen(line) for line in text.split("\n"))
    return tuple(line for line in shown if line.strip())


def _as_seen(line: str) -> str:
    """What follows the last carriage return that says something, its indentation kept."""
    visible = next((part for part in reversed(line.split("\r")) if part.strip()), "")
    indent = len(visible) - len(visible.lstrip(" "))
    return " " * min(indent, _MOST_INDENT) + clean_text(visible)


def full_stop(message: str) -> str:
    """What parts a message from the sentence after it; nothing where it ends with a mark of its own."""
    return "" if message.endswith((".", "!", "?", ":", ";")) else "."
