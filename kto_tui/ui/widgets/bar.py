"""A horizontal bar of block characters, readable without colour."""

_PARTS = " ▏▎▍▌▋▊▉"
_RUNNER = 6


def split_bar(fraction: float, width: int) -> tuple[str, str]:
    """The filled and the empty part of a bar `width` cells wide; a fraction outside 0…1 is clamped."""
    eighths = round(min(1.0, max(0.0, fraction)) * width * 8)
    full, part = divmod(eighths, 8)
    filled = "█" * full + (_PARTS[part] if part else "")
    return filled, "░" * (width - len(filled))


def moving_bar(position: int, width: int) -> tuple[str, str, str]:
    """Empty, filled, empty: a block that runs to and fro, for work of unknown length."""
    block = min(_RUNNER, width)
    way = max(1, width - block)
    offset = position % (2 * way)
    start = min(offset, 2 * way - offset, width - block)
    return "░" * start, "█" * block, "░" * (width - block - start)
