"""Text measured in terminal cells: its width, cutting and wrapping."""

import unicodedata

_NO_WIDTH = frozenset({"Mn", "Me", "Cf", "Cc"})


def display_width(text: str) -> int:
    """The cells that a terminal takes for this text, which holds no escape codes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(char: str) -> int:
    if char.isascii():
        return 1
    if unicodedata.category(char) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def pad(text: str, width: int) -> str:
    """The text, cut or filled with spaces to exactly `width` cells."""
    text = _head(text, width)
    return text + " " * (width - display_width(text))


def shorten(text: str, width: int, mark: str = "…") -> str:
    """The text cut in its middle to at most `width` cells; `mark` stands for what is missing."""
    if display_width(text) <= width:
        return text
    room = width - display_width(mark)
    if room < 2:
        return _head(text, width)
    tail = _head(text[::-1], room - room // 2)[::-1]
    return _head(text, room // 2) + mark + tail


def _head(text: str, width: int) -> str:
    """As many characters from the start as `width` cells hold."""
    if display_width(text) <= width:
        return text
    used = 0
    for index, char in enumerate(text):
        used += _cells(char)
        if used > width:
            return text[:index]
    return text


def wrap(text: str, width: int, indent: str = "  ") -> list[str]:
    """Lines of at most `width` cells, broken at spaces where there are any; all but the first indented."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines[-1].strip() else lines[-1] + word
        if display_width(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1].strip():
            lines.append(indent)
        while display_width(lines[-1] + word) > width:
            part = _head(word, width - display_width(lines[-1]))
            lines[-1] += part
            word = word[len(part) :]
            lines.append(indent)
        lines[-1] += word
    return lines
