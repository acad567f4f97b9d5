"""Records out of local files: .json, .jsonl and .csv with the standard library, .parquet with pyarrow."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.data.rows import CONVERSATION, Columns
from kto_tui.data.wording import listed, shown

FILE_TYPES = (".json", ".jsonl", ".csv", ".parquet")
Records = Iterator[tuple[str, Any]]


def read_file(path: Path, source: str, columns: Columns) -> Records:
    """(where, record) of each row. `source` is the file as its user named it. Raises UserError."""
    reader = _READERS.get(path.suffix.lower())
    if os.path.isdir(path):
        raise UserError(f"{source} is a folder; expected a file ({listed(FILE_TYPES)})")
    if not os.path.exists(path):  # Unlike Path.exists, this raises for no name, however odd.
        raise UserError(f"{source}: no such file")
    if reader is None:
        raise UserError(f"{source}: the name must end in one of {listed(FILE_TYPES)}")
    return reader(path, source, columns)


@contextmanager
def _opened(path: Path, source: str, newline: str | None) -> Iterator[TextIO]:
    """The file as text; what goes wrong while it is read becomes a UserError."""
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError:
        raise UserError(
            f"{source}, line {_undecodable_line(path)}: not UTF-8; save the file as UTF-8"
        ) from None
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from None


def _undecodable_line(path: Path) -> int:
    """The number of the first line that is not UTF-8. The reader decodes in blocks and cannot tell."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    raise AssertionError(f"{path} is UTF-8 line by line")


def _parse(text: str, place: Callable[[int], str], hint: str) -> Any:
    """The JSON value. `place` names a line of `text` in the error."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{place(error.lineno)}, column {error.colno}: not JSON: {printable(error.msg)}{hint}"
        ) from None
    except RecursionError:
        raise UserError(f"{place(1)}: lists or objects are nested too deeply") from None
    except ValueError as error:  # A number with thousands of digits.
        raise UserError(f"{place(1)}: not JSON that can be read: {printable(str(error))}") from None


def _read_json(path: Path, source: str, columns: Columns) -> Records:
    del columns
    with _opened(path, source, None) as file:
        text = file.read()
    if not text.strip():
        return
    hint = "" if text.lstrip()[0] == "[" else " (one object a line? then name the file .jsonl)"
    for number, record in enumerate(
        _only_list(_parse(text, lambda n: f"{source}, line {n}", hint), source), 1
    ):
        yield f"{source}, row {number}", record


def _only_list(value: Any, source: str) -> list[Any]:
    if isinstance(value, list):
        return value
    lists = [item for item in value.values() if isinstance(item, list)] if isinstance(value, dict) else []
    if len(lists) != 1:
        found = f"an object with {len(lists)} lists" if isinstance(value, dict) else shown(value)
        raise UserError(f"{source}: found {found}; expected a list of rows, or an object that holds one list")
    return lists[0]


def _read_jsonl(path: Path, source: str, columns: Columns) -> Records:
    del columns
    number = 0
    with _opened(path, source, "\n") as file:
        for line_number, line in enumerate(file, 1):
            if not line.strip():
                continue
            number += 1
            place = f"{source}, line {line_number}"
            hint = " (one list for all rows? then name the file .json)" if line.lstrip()[0] == "[" else ""
            yield f"{source}, row {number}", _parse(line, lambda _, place=place: place, hint)  # type: ignore[misc]


def _read_csv(path: Path, source: str, columns: Columns) -> Records:
    del columns
    with _opened(path, source, "") as file:
        # Strict, since a quote that is never closed would otherwise swallow the rest of the file.
        reader = csv.reader(file, strict=True)
        number = 0
        try:
            names = next(reader, [])
            _require_distinct(names, source)
            for cells in reader:
                if cells:
                    number += 1
                    yield _csv_record(names, cells, f"{source}, row {number}")
        except csv.Error as error:
            raise UserError(
                f"{source}, row {number + 1} (line {reader.line_num}): not CSV: {printable(str(error))};"
                " a quote that is not closed?"
            ) from None


def _require_distinct(names: list[str], source: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{source}: two columns are called {shown(name)}; rename one")
        seen.add(name)


def _csv_record(names: list[str], cells: list[str], where: str) -> tuple[str, dict[str, str]]:
    if len(cells) != len(names):
        raise UserError(f"{where}: found {len(cells)} cells; expected {len(names)}, as in the first line")
    return where, dict(zip(names, cells, strict=True))


def _read_parquet(path: Path, source: str, columns: Columns) -> Records:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256, columns=_needed(file.schema_arrow.names, columns)):
                for record in batch.to_pylist():
                    number += 1
                    yield f"{source}, row {number}", record
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        place = f"{source}, after row {number}" if number else source
        raise UserError(f"{place}: not a whole Parquet file: {printable(one_line(error))}") from None


def _needed(names: list[str], columns: Columns) -> list[str] | None:
    """The columns to read; None for all, so that the error about a missing one can name them."""
    wanted = [columns.prompt, columns.completion, columns.label, CONVERSATION]
    found = [name for name in wanted if name in names]
    complete = columns.label in found and (CONVERSATION in found or len(found) == 3)
    return found if complete else None


_READERS: dict[str, Callable[[Path, str, Columns], Records]] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
