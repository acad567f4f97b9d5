"""Data files of each kind, written by the libraries that people write them with."""

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kto_tui.core.errors import UserError
from kto_tui.data.files import read_records

Record = dict[str, Any]
KINDS = ("json", "jsonl", "ndjson", "csv", "tsv", "parquet", "arrow")
PACKINGS = ("", ".gz", ".bz2", ".xz", ".zst")


def written(kind: str, records: list[Record]) -> bytes:
    """A file of the kind. Tables in text hold text alone."""
    match kind:
        case "json":
            return json.dumps(records, ensure_ascii=False).encode()
        case "jsonl" | "ndjson":
            return "".join(json.dumps(record) + "\n" for record in records).encode()
        case "csv" | "tsv":
            return _table(records, "\t" if kind == "tsv" else ",").encode()
    return columnar(kind, pa.Table.from_pylist(records))


def _table(records: list[Record], delimiter: str) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(records[0]), delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def columnar(kind: str, table: pa.Table, rows_a_batch: int = 1000) -> bytes:
    sink = pa.BufferOutputStream()
    if kind == "parquet":
        pq.write_table(table, sink, row_group_size=rows_a_batch)
    else:
        opened = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with opened(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=rows_a_batch)
    return bytes(sink.getvalue())


def packed(ending: str, content: bytes) -> bytes:
    match ending:
        case ".gz":
            return gzip.compress(content)
        case ".bz2":
            return bz2.compress(content)
        case ".xz":
            return lzma.compress(content, preset=0)
        case ".zst":
            return bytes(pa.compress(content, "zstd", asbytes=True))
    return content


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def records_of(path: Path, source: str = "data") -> list[Any]:
    return [record for _, record in read_records(path, source)]


def places_of(path: Path, source: str = "data") -> list[str]:
    return [where for where, _ in read_records(path, source)]


def refusal_of(path: Path, source: str = "data") -> str:
    """The one line that refuses the file, without its name."""
    with pytest.raises(UserError) as error:
        list(read_records(path, source))
    message = str(error.value)
    assert message.isprintable()
    assert len(message) < 400
    assert message.startswith(source)
    return message.removeprefix(source)
