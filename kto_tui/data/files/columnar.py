"""Columnar files with pyarrow: Parquet, and Arrow's IPC file and stream. Only wanted columns are read."""

import io
import mmap
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.data.files.class_names import Names, stored_names, with_names
from kto_tui.data.files.compressed import on_disk
from kto_tui.data.files.gaps import closing
from kto_tui.data.files.limits import BOMB, LARGEST_ROW, MIB, grows_too_far
from kto_tui.data.files.names import Kind
from kto_tui.data.wording import shown

Records = Iterator[tuple[str, Any]]
_BATCH_ROWS = 1024
_BATCH_BYTES = 8 * MIB
_LEAST_ROW_BYTES = 8  # In memory; a value that repeats takes no room in the file.


class _Place:
    """How far a file was read, for errors, and how its values are to be taken."""

    def __init__(self, source: str, kind: Kind) -> None:
        self.source, self.kind = source, kind
        self.rows = 0
        self.names: Names = {}  # What numbers stand for, by column.

    def broken(self, what: str) -> UserError:
        place = f"{self.source}, after row {self.rows}" if self.rows else self.source
        return UserError(f"{place}: not a whole {self.kind} file: {what}")


@contextmanager
def _errors(place: _Place) -> Iterator[None]:
    """What pyarrow raises for a damaged file becomes a UserError."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise place.broken(printable(one_line(error))[:200]) from None


def read_parquet(stream: io.BufferedReader, source: str, columns: Collection[str] | None) -> Records:
    """(where, record) of each row."""
    import pyarrow.parquet

    place = _Place(source, Kind.PARQUET)
    _require_beginning(stream, (b"PAR1",), place)
    with on_disk(stream) as content, _errors(place):
        size = content.seek(0, io.SEEK_END)
        # The buffer keeps pyarrow from taking whole row groups into memory; threads double what it takes.
        with pyarrow.parquet.ParquetFile(content, buffer_size=MIB, pre_buffer=False) as file:
            groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
            unpacked_bytes = sum(group.total_byte_size for group in groups)
            rows = file.metadata.num_rows
            if grows_too_far(max(unpacked_bytes, rows * _LEAST_ROW_BYTES), size):
                raise UserError(f"{source}: {BOMB}")
            names = _chosen(file.schema_arrow.names, columns, source)
            step = _rows_at_once(unpacked_bytes, rows)
            place.names = stored_names(file.schema_arrow.metadata)
            for batch in file.iter_batches(batch_size=step, columns=names, use_threads=False):
                yield from _records(batch, place)


def read_arrow(stream: io.BufferedReader, source: str, columns: Collection[str] | None) -> Records:
    """(where, record) of each row of an IPC file or stream; `datasets` writes streams."""
    place = _Place(source, Kind.ARROW)
    _require_beginning(stream, (b"ARROW1", b"\xff\xff\xff\xff"), place)
    with on_disk(stream) as content, _errors(place):
        for batch in _ipc_batches(content, columns, source):
            place.names = stored_names(batch.schema.metadata)
            # Nothing in the format keeps offsets inside of their buffers.
            batch.validate(full=True)
            step = _rows_at_once(_text_bytes(batch), batch.num_rows)
            for start in range(0, batch.num_rows, step):
                yield from _records(batch.slice(start, step), place)


def _ipc_batches(content: BinaryIO, columns: Collection[str] | None, source: str) -> Iterator[Any]:
    import pyarrow.ipc

    if content.read(6) == b"ARROW1":
        # Mapped, since one batch is often the whole file: the system can take its pages back.
        mapped = pyarrow.py_buffer(mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ))
        with pyarrow.ipc.open_file(mapped) as file:
            options = _ipc_options(file.schema.names, columns, source)
        with pyarrow.ipc.open_file(mapped, options=options) as file:
            yield from (file.get_batch(number) for number in range(file.num_record_batches))
        return
    content.seek(0)
    with pyarrow.ipc.open_stream(content) as stream:
        options = _ipc_options(stream.schema.names, columns, source)
    content.seek(0)
    with pyarrow.ipc.open_stream(content, options=options) as stream:
        yield from stream


def _ipc_options(names: list[str], columns: Collection[str] | None, source: str) -> Any:
    import pyarrow.ipc

    chosen = _chosen(names, columns, source)
    fields = None if chosen is None else [names.index(name) for name in chosen]
    return pyarrow.ipc.IpcReadOptions(included_fields=fields)


def _require_beginning(stream: io.BufferedReader, beginnings: tuple[bytes, ...], place: _Place) -> None:
    head = stream.peek(8)
    if not head:
        raise place.broken("it is empty")
    if not head.startswith(beginnings):
        raise place.broken("it does not begin like one")


def _chosen(names: list[str], columns: Collection[str] | None, source: str) -> list[str] | None:
    """The columns to read; None for all: also where no wanted one is there, so that errors can name them."""
    for number, name in enumerate(names):
        if name in names[:number]:
            raise UserError(f"{source}: two columns are called {shown(name)}; rename one")
    return None if columns is None else [name for name in names if name in columns] or None


def _rows_at_once(total_bytes: int, rows: int) -> int:
    """As many rows as fill a batch, if all are about of one size."""
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * max(rows, 1) // max(total_bytes, 1)))


def _records(batch: Any, place: _Place) -> Records:
    if _text_bytes(batch) > LARGEST_ROW:
        _refuse_long_row(batch, place)
    names = batch.schema.names
    values = [_values(column, name, place) for name, column in zip(names, batch.columns, strict=True)]
    for cells in zip(*values, strict=True):
        place.rows += 1
        record = dict(zip(names, cells, strict=True))
        yield f"{place.source}, row {place.rows}", with_names(record, place.names) if place.names else record


def _values(column: Any, name: str, place: _Place) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist(maps_as_pydicts="strict")
    except UnicodeDecodeError:
        raise
    except (KeyError, ValueError, OverflowError, TypeError, NotImplementedError) as error:
        raise UserError(
            f"{place.source}, after row {place.rows}: column {shown(name)} of type"
            f" {printable(str(column.type))[:80]} cannot be read: {printable(one_line(error))[:120]}"
        ) from None
    if (close := closing(column.type, column)) is not None:
        for value in values:
            close(value)
    return values


def _text_bytes(batch: Any) -> int:
    """The size of the rows, without dictionaries: those are shared by rows."""
    import pyarrow

    return sum(column.nbytes for column in batch.columns if not pyarrow.types.is_dictionary(column.type))


def _refuse_long_row(batch: Any, place: _Place) -> None:
    for number in range(batch.num_rows):
        if _text_bytes(batch.slice(number, 1)) > LARGEST_ROW:
            raise UserError(
                f"{place.source}, row {place.rows + number + 1}: a row of more than {LARGEST_ROW // MIB} MiB;"
                " cut or remove it"
            )
