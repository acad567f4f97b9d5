"""What was written comes back, whatever the format and the compression."""

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import example, given, settings

from kto_tui.core.errors import UserError
from kto_tui.data.files import FILE_TYPES, is_data_file, read_records
from kto_tui.data.files.limits import BLOCK
from tests.data.files.writing import (
    KINDS,
    PACKINGS,
    Record,
    columnar,
    packed,
    places_of,
    records_of,
    written,
    zipped,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# Without NUL, which a table in text may not hold in a name that pyarrow takes.
NAMES = st.lists(TEXT.filter(lambda name: name and "\0" not in name), min_size=1, max_size=4, unique=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
TABLES = NAMES.flatmap(
    lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, TEXT)), min_size=1, max_size=5)
)
ONCE_EACH = settings(max_examples=40, deadline=None)


def read_back(name: str, content: bytes) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        return records_of(path)


@ONCE_EACH
@given(st.lists(st.dictionaries(TEXT, JSON, max_size=4), max_size=5), st.sampled_from(PACKINGS))
@example([{"a": 10**30, "b": [[{}], -0.0]}], "")
def test_any_objects_come_back_from_json(records: list[Record], packing: str) -> None:
    for kind in ("json", "jsonl"):
        assert read_back(f"a.{kind}{packing}", packed(packing, written(kind, records))) == records
    indented = json.dumps({"version": 1, "rows": records}, indent=2).encode()
    assert read_back(f"a.json{packing}", packed(packing, indented)) == records


@ONCE_EACH
@given(TABLES, st.sampled_from(PACKINGS))
@example([{"a": 'He said "x",\r\n\ty;', "b;c": ""}], "")
def test_any_texts_come_back_from_every_kind(records: list[Record], packing: str) -> None:
    for kind in KINDS:
        content = written(kind, records)
        assert read_back(f"a.{kind}{packing}", packed(packing, content)) == records
        assert read_back("a.zip", zipped((f"b/a.{kind}", content), ("README.md", b"x"))) == records
    stream = columnar("stream", pa.Table.from_pylist(records))
    assert read_back(f"a.arrow{packing}", packed(packing, stream)) == records


LONG: list[Record] = [{"prompt": "x" * n, "n": str(n)} for n in (0, BLOCK - 30, BLOCK, 3 * BLOCK + 1, 2)]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_longer_than_a_block(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(written(kind, LONG))
    assert records_of(path) == LONG


@pytest.mark.parametrize("shift", range(64))
def test_every_cut_between_blocks(tmp_path: Path, shift: int) -> None:
    """A block may end inside of a number, a word, an escape, a pair of bytes, a line end or a quote."""
    rows = [["n", "x"], ["12345678", "true"], ["2\r\n", 'ä"\U0001f600,']]
    pad = "x" * (BLOCK - 2 - shift)
    text = io.StringIO(newline="")
    csv.writer(text).writerows([[pad, "p"], *rows])
    (tmp_path / "a.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    assert [list(record.values()) for record in records_of(tmp_path / "a.csv")] == rows
    value = [pad, 12345678, -1.5e-3, True, None, {'ä"\\\U0001f600': [1, 2]}, [], 3]
    (tmp_path / "a.json").write_text(json.dumps(value), encoding="utf-8")
    assert records_of(tmp_path / "a.json") == value


@pytest.mark.parametrize("kind", KINDS)
def test_ten_megabytes_in_a_row(tmp_path: Path, kind: str) -> None:
    records: list[Record] = [{"prompt": "word, " * (10 * 2**20 // 6)}, {"prompt": "short"}]
    path = tmp_path / f"a.{kind}"
    path.write_bytes(written(kind, records))
    assert records_of(path) == records


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "tsv"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path: Path, kind: str, encoding: str) -> None:
    records = [{"prompt": "Größe \U0001f600", "label": "1"}] * 2
    path = tmp_path / f"a.{kind}"
    path.write_bytes(written(kind, records).decode().encode(encoding))
    assert records_of(path) == records


def test_big_endian(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"\xfe\xff" + "prompt\tlabel\r\nä\t1\r\n".encode("utf-16-be"))
    assert records_of(tmp_path / "a.tsv") == [{"prompt": "ä", "label": "1"}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "p;l\na, b;1\n"),
        ("a.csv", "p\tl\na, b\t1\n"),
        ("a.csv", "sep=;\r\np;l\r\na, b;1\r\n"),
        ("a.csv", 'p,l\r"a, b",1\r'),
        ("a.csv", 'p,l\n\n"a, b",1\n\n'),
        ("a.tsv", 'p,l\n"a, b",1'),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert records_of(tmp_path / name) == [{"p": "a, b", "l": "1"}]


def test_the_index_that_pandas_writes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",prompt\n0,x\n")
    assert records_of(tmp_path / "a.csv") == [{"": "0", "prompt": "x"}]


@pytest.mark.parametrize("packing", [".gz", ".bz2", ".xz", ".zst"])
def test_packed_in_pieces(tmp_path: Path, packing: str) -> None:
    """As `cat a.gz b.gz` and parallel packers write it."""
    pieces = [packed(packing, b'{"n": 1}\n' * 3), packed(packing, b'{"n": 1}\n')]
    (tmp_path / f"a.jsonl{packing}").write_bytes(b"".join(pieces))
    assert records_of(tmp_path / f"a.jsonl{packing}") == [{"n": 1}] * 4


def test_places(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n1\n\n2")
    (tmp_path / "a.zip").write_bytes(zipped(("in/a.jsonl", b"1\n")))
    assert places_of(tmp_path / "a.jsonl", "my.jsonl") == ["my.jsonl, row 1", "my.jsonl, row 2"]
    assert places_of(tmp_path / "a.zip", "my.zip") == ["my.zip/in/a.jsonl, row 1"]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
def test_only_the_wanted_columns_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind.replace('stream', 'arrow')}"
    path.write_bytes(columnar(kind, pa.table({"a": [1], "b": [2], "c": [3]})))

    def read(*columns: str) -> list[Any]:
        return [record for _, record in read_records(path, "a", columns)]

    assert read("c", "a", "gone") == [{"a": 1, "c": 3}]
    assert read("gone") == [{"a": 1, "b": 2, "c": 3}]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
def test_odd_column_types(tmp_path: Path, kind: str) -> None:
    table = pa.table(
        {
            "large": pa.array(["x", None], pa.large_string()),
            "view": pa.array(["x", None], pa.string_view()),
            "category": pa.array(["x", None]).dictionary_encode(),
            "nothing": pa.nulls(2),
            "nested": pa.array([[[{"role": "user"}, None]], None]),
            "object": pa.array([{"role": None}, None], pa.struct({"role": pa.string()})),
            "binary": pa.array([b"x", None]),
            "half": pa.array([0.5, None], pa.float32()),
        }
    )
    path = tmp_path / f"a.{kind.replace('stream', 'arrow')}"
    path.write_bytes(columnar(kind, table))
    assert records_of(path) == table.to_pylist()


def test_a_column_that_python_cannot_hold(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["x"], "when": pa.array([2**62], pa.timestamp("s"))})
    (tmp_path / "a.arrow").write_bytes(columnar("arrow", table))
    with pytest.raises(UserError, match=r'column "when" of type timestamp\[s\] cannot be read'):
        records_of(tmp_path / "a.arrow")
    assert [record for _, record in read_records(tmp_path / "a.arrow", "a", ["prompt"])] == [{"prompt": "x"}]


def test_maps_are_objects(tmp_path: Path) -> None:
    """As Spark writes them."""
    scores = pa.map_(pa.string(), pa.float64())
    said = pa.list_(pa.map_(pa.string(), pa.string()))
    records = [{"scores": {"thumb": 1.0}, "messages": [{"role": "user", "content": "q"}]}]
    (tmp_path / "a.parquet").write_bytes(
        columnar("parquet", pa.Table.from_pylist(records, pa.schema({"scores": scores, "messages": said})))
    )
    assert records_of(tmp_path / "a.parquet") == records


def test_a_map_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    twice = pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64()))
    (tmp_path / "a.parquet").write_bytes(columnar("parquet", pa.table({"scores": twice})))
    with pytest.raises(UserError, match=r'column "scores" of type map<.*cannot be read: .*duplicate'):
        records_of(tmp_path / "a.parquet")


def test_names() -> None:
    assert set(FILE_TYPES) == {f".{kind}" for kind in (*KINDS, "zip")}
    assert all(is_data_file(f"A.{kind}{packing}".upper()) for kind in KINDS for packing in PACKINGS)
    assert not any(map(is_data_file, ["jsonl", "a.txt", "a.gz", "a.zip.gz", "a.jsonl.gz.gz", "a.tar", ""]))
