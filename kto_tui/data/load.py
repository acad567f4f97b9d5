"""From the name of a data set to its rows, and what they come to."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from kto_tui.core.config import SAMPLE_DATASET
from kto_tui.core.counts import Counts
from kto_tui.core.errors import UserError, printable
from kto_tui.data.files import FILE_TYPES, read_file
from kto_tui.data.hub_rows import read_hub
from kto_tui.data.rows import Columns, Row, parse_row
from kto_tui.models.hub import looks_like_path

_SAMPLE = Path(__file__).with_name("sample.jsonl")


def load_rows(source: str, columns: Columns) -> Iterator[Row]:
    """The rated rows of `builtin:sample`, a local file or a hub id, one at a time.

    Raises UserError, here or while the rows are read, that names the file and the row.
    """
    if source == SAMPLE_DATASET:
        records = read_file(_SAMPLE, source, Columns())
        return (parse_row(record, Columns(), where) for where, record in records)
    path = Path(os.path.expanduser(source))
    name = printable(source) or '""'
    if os.path.exists(path) or looks_like_path(source) or path.suffix.lower() in FILE_TYPES:
        records = read_file(path, name, columns)
    else:
        records = read_hub(source)
    return (parse_row(record, columns, where) for where, record in records)


def count_rows(rows: Iterable[Row]) -> Counts:
    """How many rows there are of each label."""
    totals = [0, 0]
    for row in rows:
        totals[row.label] += 1
    return Counts(desirable=totals[True], undesirable=totals[False])


def check_rows(source: str, columns: Columns, *, both_labels: bool = True) -> Counts:
    """Read every row and count. Raises UserError for a bad row, no rows, or labels of one class only.

    Rows that are only evaluated on do without `both_labels`.
    """
    counts = count_rows(load_rows(source, columns))
    name = printable(source)
    if counts.total == 0:
        raise UserError(f"{name} holds no rows")
    if both_labels and not (counts.desirable and counts.undesirable):
        kind = "desirable" if counts.desirable else "undesirable"
        found = f"all {counts.total} rows are" if counts.total > 1 else "its only row is"
        raise UserError(
            f"{name}: {found} {kind}; KTO needs both desirable and undesirable answers"
            " (choose the rating with --label-column)"
        )
    return counts
