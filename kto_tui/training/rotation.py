"""Which checkpoints make room for a new one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from kto_tui.core.events import SaveReason


@dataclass(frozen=True)
class Saved:
    """A whole checkpoint. `time` is when it was written, in seconds since the epoch."""

    path: Path
    step: int
    reason: SaveReason
    time: float


def surplus(
    checkpoints: Sequence[Saved], limit: int, protected: Collection[Path], best: Path | None = None
) -> list[Saved]:
    """Those to delete so that the newest `limit` are left, oldest first.

    What the user asked for by name is neither counted nor deleted, nor is the `best` evaluated one; nor is
    a protected path deleted. Age is the time of writing, since a run that
    resumed from an early step writes low steps late.
    """
    rotating = [saved for saved in checkpoints if saved.reason != "requested" and saved.path != best]
    rotating.sort(key=_age)
    return [saved for saved in rotating[: max(0, len(rotating) - limit)] if saved.path not in protected]


def _age(saved: Saved) -> tuple[float, int]:
    return saved.time, saved.step
