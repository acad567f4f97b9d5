"""Which checkpoints make room for a new one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from kto_tui.core.events import SaveReason


@dataclass(frozen=True)
class Saved:
    """A checkpoint. `time` is when it was written, in seconds since the epoch; `damaged`: of no use."""

    path: Path
    step: int
    reason: SaveReason
    time: float
    damaged: bool = False


def surplus(
    checkpoints: Sequence[Saved], limit: int, protected: Collection[Path], best: Path | None = None
) -> list[Saved]:
    """Those to delete so that the newest `limit` whole ones are left, oldest first.

    What the user asked for by name is neither counted nor deleted, nor is the `best` evaluated one; nor is
    a protected path deleted. Damaged ones do not count, and go. Age is the time of writing, since a run that
    resumed from an early step writes low steps late.
    """
    rotating = [saved for saved in checkpoints if not _stays(saved, best) and not saved.damaged]
    rotating.sort(key=_age)
    damaged = [saved for saved in checkpoints if saved.damaged and not _stays(saved, best)]
    going = [*sorted(damaged, key=_age), *rotating[: max(0, len(rotating) - limit)]]
    return [saved for saved in going if saved.path not in protected]


def _stays(saved: Saved, best: Path | None) -> bool:
    return saved.reason == "requested" or saved.path == best


def _age(saved: Saved) -> tuple[float, int]:
    return saved.time, saved.step
