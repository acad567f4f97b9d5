"""A data set without what cannot be trained on, written anew. Nothing that is there is ever overwritten."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kto_tui.core.errors import UserError, printable
from kto_tui.core.mixture import Weighted, joined
from kto_tui.data.rows import Row
from kto_tui.data.survey.reading import DataSets, Reading
from kto_tui.data.survey.repeats import find_repeats

SUFFIX = ".jsonl"


class Fixed(msgspec.Struct, kw_only=True):
    """What was written where, and how many rows were left out, each for the first of its reasons.

    `weighted`: data sets whose weight the file does not have, since each row is in it once.
    """

    path: str
    rows: int
    cleaned: int
    left_out: dict[str, int]
    weighted: list[str] = []


def check_target(path: Path) -> None:
    """Refuse a file that is there, or that could not be read back. Raises UserError."""
    name = printable(str(path))
    if path.suffix != SUFFIX:
        raise UserError(f"--fix {name}: rows are written as JSON lines; choose a name that ends in {SUFFIX}")
    if os.path.lexists(path):
        raise UserError(f"--fix {name}: it is there already, and nothing is overwritten; choose another name")
    if not path.parent.is_dir():
        raise UserError(f"--fix {name}: no folder {printable(str(path.parent))}; make it first")


def write_fixed(path: Path, data: DataSets, reading: Reading, max_length: int) -> Fixed:
    """Read the data once more, and write the rows worth keeping in TRL's unpaired form.

    `reading` is what was read of it before. Raises UserError where the file cannot be written, where no row
    is left, or where the data changed meanwhile.
    """
    check_target(path)
    keep, left_out = _worth_keeping(reading, max_length)
    if not keep.any():
        raise UserError(f"--fix {printable(str(path))}: no row is left that could be written")
    try:
        _write(path, _lines(data, reading.taken, keep))
    except OSError as error:
        raise UserError(f"--fix {printable(str(path))}: it cannot be written: {error.strerror}") from error
    left_out |= reading.skipped
    left_out["rows that cannot be trained on as written"] = reading.bad.count
    kept = {reason: count for reason, count in left_out.items() if count}
    return Fixed(
        path=str(path),
        rows=int(keep.sum()),
        cleaned=reading.cleaned,
        left_out=kept,
        weighted=[joined((Weighted(part.name, part.weight),)) for part in data.opened if part.weight != 1],
    )


def _worth_keeping(reading: Reading, max_length: int) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """(rows,) of the survey, and how many are not kept by reason."""
    repeats = find_repeats(reading.survey)
    prompts, _ = reading.lengths
    reasons = {
        "empty answers": reading.survey.characters == 0,
        "contradictions (the same prompt and answer with both labels)": repeats.contradicting,
        "duplicates": repeats.repeated,
    }
    if len(prompts):
        reasons[f"prompts that fill --max-length {max_length}"] = prompts >= max_length
    keep = np.ones(len(reading.survey), dtype=np.bool_)
    left_out = {}
    for reason, which in reasons.items():
        left_out[reason] = int((which & keep).sum())
        keep &= ~which
    return keep, left_out


def _lines(data: DataSets, taken: bytearray, keep: NDArray[np.bool_]) -> Iterator[bytes]:
    """The kept rows as lines of JSON."""
    row = count = 0
    for one in data.rows():
        if count < len(taken) and taken[count]:
            if keep[row]:
                yield msgspec.json.encode(_record(one)) + b"\n"
            row += 1
        count += 1
    if count != len(taken):
        raise UserError(
            f"{len(taken):,} rows when they were checked, {count:,} now; wait until nobody writes to the "
            "file, and try again"
        )


def _record(row: Row) -> dict[str, Any]:
    record: dict[str, Any] = {"prompt": row.prompt, "completion": row.completion, "label": row.label}
    return {**record, "tools": row.tools} if row.tools else record


def _write(path: Path, lines: Iterable[bytes]) -> None:
    """All of it or nothing: written beside its place, and put there when it is whole and on the disk."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("xb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        _put(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _put(beside: Path, path: Path) -> None:
    """Give the file its name, unless something has taken that meanwhile."""
    try:
        os.link(beside, path)
    except FileExistsError:
        check_target(path)
        raise
    except OSError:  # A file system without hard links.
        check_target(path)
        beside.rename(path)
