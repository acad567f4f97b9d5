"""Where the reference's log-probabilities come from, in words."""

from kto_tui.core.events import ReferenceCacheReady
from kto_tui.insight.text import clean_text, format_bytes


def reference_text(event: ReferenceCacheReady) -> str:
    """How much of it is known already, and the room it takes; or that nothing is kept. Clean."""
    if event.path is None:
        return "computed at every step (--reference-cache off)"
    room = f"{format_bytes(event.bytes)} of {format_bytes(event.limit_bytes)}"
    return f"{event.known:,} of {event.blocks:,} blocks known, {room} in {clean_text(event.path)}"
