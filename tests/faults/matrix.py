"""The result: fault × times tried × survived."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.lab import Injection, median

_HEAD = ("FAULT", "TRIED", "SURVIVED", "REDONE, MOST", "RECOVERED IN, MEDIAN")


@dataclass(frozen=True)
class Played:
    """How one play of a scenario went. `problem`: None if it survived; `skipped`: why it was not tried."""

    scenario: str
    seed: int
    injections: Sequence[Injection]
    redone: int
    seconds: float
    problem: str | None = None
    skipped: str | None = None
    folder: str = ""


def format_matrix(plays: Sequence[Played]) -> str:
    """A line a fault, in the order in which they were first met, and a line of all."""
    faults = dict.fromkeys(injection.fault for play in plays for injection in play.injections)
    rows = [_HEAD, *(_row(fault, plays) for fault in faults), _total(plays)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(_aligned(cell, width, i) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def kills(plays: Sequence[Played]) -> int:
    """How often something was killed; worker and supervisor at once count as one."""
    return sum("SIGKILL" in injection.fault for play in plays for injection in play.injections)


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _row(fault: str, plays: Sequence[Played]) -> tuple[str, ...]:
    found = [injection for play in plays for injection in play.injections if injection.fault == fault]
    redone = max(play.redone for play in plays if any(i.fault == fault for i in play.injections))
    return _cells(fault, found, redone)


def _total(plays: Sequence[Played]) -> tuple[str, ...]:
    found = [injection for play in plays for injection in play.injections]
    return _cells("all", found, max((play.redone for play in plays), default=0))


def _cells(name: str, found: Sequence[Injection], redone: int) -> tuple[str, ...]:
    seconds = median(injection.seconds for injection in found if injection.seconds is not None)
    survived = sum(injection.survived for injection in found)
    return name, str(len(found)), str(survived), str(redone), "–" if seconds is None else f"{seconds:.1f} s"
