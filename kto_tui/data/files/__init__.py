"""Records out of local files and folders, recognized by name: JSON, JSON Lines, CSV, TSV, Parquet, Arrow.

Each also compressed. Rows are streamed, so that memory stays flat however long the file is; the columnar
kinds are read by pyarrow, the others by the standard library.
"""

import io
import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from kto_tui.core.errors import UserError, printable
from kto_tui.data.files.archive import only_member
from kto_tui.data.files.columnar import read_arrow, read_parquet
from kto_tui.data.files.compressed import unpacked
from kto_tui.data.files.csv_table import read_csv, read_tsv
from kto_tui.data.files.folders import data_files, left_out
from kto_tui.data.files.json_lines import read_json_lines
from kto_tui.data.files.json_list import read_json
from kto_tui.data.files.names import FILE_TYPES, PACKED_TYPES, Kind, is_data_file, is_plain_split, kind_of
from kto_tui.data.files.sniffing import HEAD, refuse_other
from kto_tui.data.wording import listed

__all__ = ["FILE_TYPES", "is_data_file", "is_plain_split", "left_out", "read_records"]

Records = Iterator[tuple[str, Any]]
_READERS: dict[Kind, Callable[[io.BufferedReader, str, Collection[str] | None], Records]] = {
    Kind.JSON: read_json,
    Kind.LINES: read_json_lines,
    Kind.CSV: read_csv,
    Kind.TSV: read_tsv,
    Kind.PARQUET: read_parquet,
    Kind.ARROW: read_arrow,
}
_OTHERS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_records(path: Path, source: str, columns: Collection[str] | None = None) -> Records:
    """(where, record) of each row. `where` is "{source}, row {n}", counted from 1.

    `source` is the file as its user named it; the files of a folder and of an archive are "{source}/{file}".
    Of columnar files only those of `columns` that exist are read; all for None, or where none exists.
    Raises UserError, here or while the rows are read.
    """
    mode = _mode(path, source)
    if stat.S_ISDIR(mode):
        return _read_folder(path, source.rstrip("/") or "/", columns)
    if not stat.S_ISREG(mode):
        raise UserError(f"{source}: {_OTHERS.get(stat.S_IFMT(mode), 'no file')}; expected a file or a folder")
    if not is_data_file(path.name):
        packed = listed(PACKED_TYPES)
        raise UserError(
            f"{source}: the name must end in one of {listed(FILE_TYPES)} (compressed: also {packed})"
        )
    return _read_file(path, source, columns)


def _mode(path: Path, source: str) -> int:
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name.
        raise UserError(f"{source}: no such file") from None
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from None


def _read_folder(folder: Path, source: str, columns: Collection[str] | None) -> Records:
    """The files are looked for at once, and read one after the other."""
    names = data_files(folder, source)

    def records() -> Records:
        for name in names:
            yield from read_records(folder / name, f"{source}/{printable(name)}", columns)

    return records()


def _read_file(path: Path, source: str, columns: Collection[str] | None) -> Records:
    found = kind_of(path.name)
    assert found is not None
    kind, packing = found
    try:
        with path.open("rb") as file:
            content: io.BufferedReader = file
            if packing:
                content = unpacked(file, packing, source)
            elif kind is Kind.ZIP:
                refuse_other(file.peek(HEAD), kind, source)
                content, source, kind = only_member(file, source)
            refuse_other(content.peek(HEAD)[:HEAD], kind, source)
            yield from _READERS[kind](content, source, columns)
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror or printable(str(error))}") from None
