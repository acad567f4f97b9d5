"""Sizes on disk in words, for whoever may not know how figures are shown elsewhere."""


def format_size(size: float) -> str:
    """Decimal as disks are sold: "1.3 GB", "820 MB", "64 kB"."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= scale * 0.9995:
            return f"{size / scale:.{1 if size < 99.95 * scale else 0}f} {unit}"
    return f"{size / 1e3:.0f} kB" if size >= 1000 else f"{size:.0f} B"
