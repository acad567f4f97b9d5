"""Tables in text: CSV and TSV. A table with semicolons, as Excel writes in much of Europe, is read too."""

import csv
import io
import itertools
import re
from collections.abc import Collection, Iterator
from typing import Any

from kto_tui.core.errors import UserError, printable
from kto_tui.data.files.limits import LARGEST_ROW
from kto_tui.data.files.text import table_lines, text_blocks, too_long
from kto_tui.data.wording import shown

Records = Iterator[tuple[str, Any]]
_QUOTED = re.compile(r'"[^"]*"?')


def read_csv(stream: io.BufferedReader, source: str, columns: Collection[str] | None) -> Records:
    """(where, cells by column) of each row behind the line with the names."""
    return _read_table(stream, source, ",", columns)


def read_tsv(stream: io.BufferedReader, source: str, columns: Collection[str] | None) -> Records:
    """As read_csv, with tabs."""
    return _read_table(stream, source, "\t", columns)


class _Lines:
    """The lines of the table, with the place of the row that is being read."""

    def __init__(self, lines: Iterator[str], source: str) -> None:
        self._lines, self._source = lines, source
        self.number = 0
        self.begun = 1  # The line in which the row begins.
        self._length = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number += 1
            self._length += len(line)
            if self._length > LARGEST_ROW:
                raise too_long(self._source, self.begun, "a row (or a quote that is not closed)")
            yield line

    def next_row(self) -> None:
        self.begun = self.number + 1
        self._length = 0


def _read_table(
    stream: io.BufferedReader, source: str, delimiter: str, columns: Collection[str] | None
) -> Records:
    del columns
    csv.field_size_limit(2 * LARGEST_ROW)  # 128 KiB by default; _Lines bounds the row.
    lines = _Lines(table_lines(text_blocks(stream, source)), source)
    first, rest = _first_line(iter(lines))
    # Strict, since a quote that is never closed would otherwise swallow the rest of the file.
    reader = csv.reader(
        itertools.chain(first, rest), delimiter=_delimiter("".join(first), delimiter), strict=True
    )
    row = 0
    try:
        names = next(reader, [])
        _require_distinct(names, source)
        lines.next_row()
        for cells in reader:
            if cells:
                row += 1
                yield _record(names, cells, f"{source}, row {row}")
            lines.next_row()
    except csv.Error as error:
        begun = f" in line {lines.begun}" if lines.begun < lines.number else ""
        raise UserError(
            f"{source}, row {row + 1} (line {lines.number}): not CSV: {printable(str(error))};"
            f" a quote that is not closed{begun}?"
        ) from None


def _first_line(lines: Iterator[str]) -> tuple[list[str], Iterator[str]]:
    """(the line with the names, the others). Excel's "sep=;" line before it says what the next one shows."""
    first = list(itertools.islice(lines, 1))
    if first and first[0].lower().startswith("sep=") and len(first[0].strip()) == 5:
        first = list(itertools.islice(lines, 1))
    return first, lines


def _delimiter(first: str, usual: str) -> str:
    """What stands between the names: one column alone holds no rated answers."""
    unquoted = _QUOTED.sub("", first)
    return next((found for found in (usual, "\t", ";", ",") if found in unquoted), usual)


def _require_distinct(names: list[str], source: str) -> None:
    """One column may lack a name: pandas writes its index so."""
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        if name in seen and not name:
            raise UserError(
                f"{source}: columns {names.index(name) + 1} and {number} have no name; name or remove them"
            )
        if name in seen:
            raise UserError(f"{source}: two columns are called {shown(name)}; rename one")
        seen.add(name)


def _record(names: list[str], cells: list[str], where: str) -> tuple[str, dict[str, str]]:
    if len(cells) != len(names):
        raise UserError(f"{where}: found {len(cells)} cells; expected {len(names)}, as in the first line")
    return where, dict(zip(names, cells, strict=True))
