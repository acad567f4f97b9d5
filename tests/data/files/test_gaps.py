"""Nulls that columnar files put where an object lacks a key, and those that people write into JSON."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.data.files.writing import columnar, records_of, written

RECORDS: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "calls": [{"name": "f", "arguments": {"city": "Oslo"}}]},
        ],
        "tools": [{"name": "f", "parameters": {"properties": {"city": {"type": "string"}}, "required": []}}],
        "meta": {"score": 1, "by": None},
        "note": None,
    },
    {
        "messages": [{"role": "tool", "content": "sun", "name": "f"}],
        "tools": [{"name": "g", "parameters": {"properties": {"town": {"enum": ["a", None]}}}}],
        "meta": {"score": None, "by": "me"},
        "note": "x",
    },
    {"messages": None, "tools": None, "meta": None, "note": None},
]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
@pytest.mark.parametrize("rows_a_batch", [1, 2, 1000])
def test_an_object_has_the_keys_that_it_was_written_with(
    tmp_path: Path, kind: str, rows_a_batch: int
) -> None:
    """In columns, and in objects that are cells, null stays null."""
    path = tmp_path / f"a.{kind.replace('stream', 'arrow')}"
    path.write_bytes(columnar(kind, pa.Table.from_pylist(RECORDS), rows_a_batch))
    assert records_of(path) == RECORDS


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_list(pa.struct({"a": pa.int8(), "b": pa.int8()})),
        pa.list_(pa.struct({"a": pa.int8(), "b": pa.int8()}), 2),
        pa.struct({"in": pa.struct({"a": pa.int8(), "b": pa.null()})}),
    ],
)
def test_lists_and_objects_of_other_kinds(tmp_path: Path, kind: pa.DataType) -> None:
    held: Any = {"in": {"a": 1}} if pa.types.is_struct(kind) else [{"a": 1}, {"b": 2}]
    table = pa.table({"x": pa.array([held, held, None, held], kind)})
    for number, part in enumerate((table, table.slice(1), table.slice(3))):
        path = tmp_path / f"{number}.arrow"
        path.write_bytes(columnar("arrow", part))
        assert [record["x"] for record in records_of(path)] == [held, held, None, held][(0, 1, 3)[number] :]


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_json_keeps_the_nulls_that_were_written(tmp_path: Path, kind: str) -> None:
    records = [{"tools": [{"name": "f", "parameters": {"default": None}}], "note": None}]
    path = tmp_path / f"a.{kind}"
    path.write_bytes(written(kind, records))
    assert records_of(path) == records
