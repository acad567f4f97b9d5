"""Files as other tools write them, and what is read from them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kto_tui.core.errors import UserError
from kto_tui.data.load import OpenedSource, open_dataset
from kto_tui.data.rows import Columns, Row


def written(folder: Path, records: Sequence[Any], name: str = "rated.jsonl") -> Path:
    """The records in a file: .json, .jsonl, .csv or .parquet by its name.

    Tables have the columns of all records; a .csv has lists and objects as JSON text.
    """
    path = folder / name
    columns = dict.fromkeys(key for record in records if isinstance(record, dict) for key in record)
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(columns))
            table.writeheader()
            table.writerows({key: _cell(value) for key, value in record.items()} for record in records)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([{key: r.get(key) for key in columns} for r in records]), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(list(records), indent=2, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def opened(path: Path, **columns: Any) -> OpenedSource:
    (source,) = open_dataset(str(path), Columns(**columns))
    return source


def read(
    folder: Path, records: Sequence[Any], name: str = "rated.jsonl", **columns: Any
) -> tuple[str, list[Row]]:
    """The name of the format, and the rows."""
    source = opened(written(folder, records, name), **columns)
    return source.format.name, list(source.rows())


def refusal(folder: Path, records: Sequence[Any], name: str = "rated.jsonl", **columns: Any) -> str:
    """What is said of records that cannot be used, without the folder."""
    try:
        read(folder, records, name, **columns)
    except UserError as error:  # Not kept, as pytest.raises does: it holds on to the open file.
        message = str(error)
    else:
        pytest.fail("nothing was refused")
    assert message.isprintable()
    return message.removeprefix(f"{folder}/")


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def system(content: str) -> dict[str, str]:
    return {"role": "system", "content": content}


# One record of each kind.
PAIR = {"chosen": "The a", "rejected": "The b"}
TEXT: dict[str, Any] = {"prompt": "p", "completion": "c", "label": True}
TALK: dict[str, Any] = {"messages": [user("p"), assistant("c")], "label": True}
JSON_CHAT = json.dumps([assistant("x")])
CHATS: dict[str, dict[str, Any]] = {
    "conversational": {"prompt": [user("p")], "completion": [assistant("c")], "label": True},
    "pair": {"prompt": [user("p")], "chosen": [assistant("c")], "rejected": [assistant("d")]},
    "alpaca": {"instruction": "p", "output": "c", "kto_tag": True},
    "question": {"question": "p", "completion": "c", "label": True},
    "openai": {
        "input": {"messages": [user("p")]},
        "preferred_output": [assistant("c")],
        "non_preferred_output": [assistant("d")],
    },
}
