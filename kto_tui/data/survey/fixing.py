"""A data set without what cannot be trained on, written anew. Nothing that is there is ever overwritten."""

import os
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kto_tui.core.errors import UserError, printable
from kto_tui.core.mixture import Weighted, joined
from kto_tui.data.load import open_dataset
from kto_tui.data.rows import Columns, Row
from kto_tui.data.survey.reading import DataSets, Reading
from kto_tui.data.survey.repeats import find_repeats

SUFFIX = ".jsonl"
_encode = msgspec.json.Encoder().encode  # Keys as they are: templates print tools and calls in their order.


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
    folder = printable(str(path.parent))
    if not path.parent.is_dir():
        raise UserError(f"--fix {name}: no folder {folder}; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"--fix {name}: nothing can be written in the folder {folder}; choose another one")


def refuse_among_data(path: Path, data: Sequence[str]) -> None:
    """Refuse a file in a folder that is read as data: its rows would be read twice from then on."""
    target = path.resolve()
    for name in data:
        folder = Path(name).expanduser()
        if folder.is_dir() and target.is_relative_to(folder.resolve()):
            raise UserError(
                f"--fix {printable(str(path))}: it would lie among the data in {printable(name)}, and be read"
                " with it from then on; choose another folder"
            )


def part_of(path: Path, pid: int) -> Path:
    """What a process writes until the file is whole."""
    return path.with_name(f".{path.stem}.{pid}.part{SUFFIX}")


def write_fixed(path: Path, data: DataSets, reading: Reading, max_length: int) -> Fixed:
    """Read the data once more, and write the rows worth keeping in TRL's unpaired form.

    `reading` is what was read of it before. Raises UserError where the file cannot be written, where no row
    is left, where the labels are of no use, or where the data changed meanwhile.
    """
    check_target(path)
    if reading.bad.misjudged:
        raise UserError(f"--fix {printable(str(path))}: nothing was written, since the labels are not known")
    keep, left_out = _worth_keeping(reading, max_length)
    if not keep.any():
        raise UserError(f"--fix {printable(str(path))}: no row is left that could be written")
    kinds: set[type] = set()
    try:
        _write(path, _lines(data, reading.taken, keep, kinds), kinds)
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


def _lines(data: DataSets, taken: bytearray, keep: NDArray[np.bool_], kinds: set[type]) -> Iterator[bytes]:
    """The kept rows as lines of JSON. Those of text and of messages are noted in `kinds`."""
    row = count = 0
    for one in data.rows():
        if count < len(taken) and taken[count]:
            if keep[row]:
                kinds.add(type(one.prompt))
                yield _line(one)
            row += 1
        count += 1
    if count != len(taken):
        raise UserError(
            f"{len(taken):,} rows when they were checked, {count:,} now; wait until nobody writes to the "
            "file, and try again"
        )


def _line(row: Row) -> bytes:
    record: dict[str, Any] = {"prompt": row.prompt, "completion": row.completion, "label": row.label}
    if row.tools:
        record["tools"] = row.tools
    return _encode(record) + b"\n"


def _write(path: Path, lines: Iterable[bytes], kinds: Set[type]) -> None:
    """All of it or nothing: written beside its place, put there when it is on the disk and was read back."""
    beside = part_of(path, os.getpid())
    try:
        with beside.open("xb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        _require_read_back(beside, path, kinds)
        _put(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _require_read_back(written: Path, path: Path, kinds: Set[type]) -> None:
    """Refuse a file that would be trained on in another way than what it was made of. Raises UserError."""
    number = 1
    try:
        (opened,) = open_dataset(str(written), Columns())
        rows = opened.rows()
        with written.open("rb") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007
                if line != _line(next(rows)):
                    raise UserError("what was written is read in another way than the source")
    except (UserError, StopIteration) as error:
        said = str(error).removeprefix(str(written)).lstrip(":, ")
        if len(kinds) > 1:
            said = "text and conversations need a file each; run --fix on each data set alone"
        raise UserError(
            f"--fix {printable(str(path))}: nothing was written, since it could not be read back"
            f" (row {number}): {said}"
        ) from None


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
