"""Labels that are stored as numbers of names, in the files that `datasets` writes."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from kto_tui.core.errors import UserError
from kto_tui.data.files import read_records
from kto_tui.data.load import load_rows
from kto_tui.data.rows import Columns

LABEL = {"names": ["good", "bad"], "_type": "ClassLabel"}
TEXT = {"dtype": "string", "_type": "Value"}
KINDS = ["a.parquet", "file.arrow", "stream.arrow"]


def table(labels: list[Any], metadata: bytes | None = None) -> pa.Table:
    """As `Dataset.to_parquet` and `save_to_disk` have it: the names are in the metadata of the schema."""
    features = {"prompt": TEXT, "completion": TEXT, "label": LABEL}
    about = metadata or json.dumps({"info": {"features": features}}).encode()
    columns = {"prompt": ["q"] * len(labels), "completion": ["a"] * len(labels), "label": labels}
    return pa.table(columns).replace_schema_metadata({b"huggingface": about})


def save(rows: pa.Table, path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(rows, path)
        return path
    write = pyarrow.ipc.new_stream if path.name.startswith("stream") else pyarrow.ipc.new_file
    with write(path, rows.schema) as writer:
        writer.write_table(rows)
    return path


@pytest.mark.parametrize("name", KINDS)
def test_names_win_over_the_numbers_that_stand_for_them(tmp_path: Path, name: str) -> None:
    path = save(table([0, 1, 0]), tmp_path / name)
    assert [row.label for row in load_rows(str(path), Columns())] == [True, False, True]


@pytest.mark.parametrize("name", KINDS)
def test_minus_one_is_no_label(tmp_path: Path, name: str) -> None:
    odd = save(table([0, -1, 7, None]), tmp_path / name)
    assert [record["label"] for _, record in read_records(odd, "a")] == ["good", None, 7, None]
    path = save(table([0, -1]), tmp_path / name)
    with pytest.raises(UserError, match='row 2: "label" is null'):
        list(load_rows(str(path), Columns()))


@pytest.mark.parametrize(
    "metadata",
    [
        *[b"no JSON", b"\xff", b"[]", b'{"info": 3}', b'{"info": {"features": {"label": 3}}}'],
        *[b"{}", b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": [1]}}}}'],
    ],
)
def test_other_metadata_leaves_the_numbers(tmp_path: Path, metadata: bytes) -> None:
    path = save(table([0, 1], metadata), tmp_path / "a.parquet")
    assert [row.label for row in load_rows(str(path), Columns())] == [False, True]
