"""Files as other tools write them, and what is read from them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.errors import UserError
from kto_tui.data.load import OpenedSource, open_dataset
from kto_tui.data.rows import Columns, Row


def written(folder: Path, records: Sequence[Any], name: str = "rated.jsonl") -> Path:
    """The records in a file: .json, .jsonl or .csv by its name."""
    path = folder / name
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(records[0]))
            table.writeheader()
            table.writerows(records)
    elif path.suffix == ".json":
        path.write_text(json.dumps(list(records), indent=2, ensure_ascii=False), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


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
    with pytest.raises(UserError) as error:
        read(folder, records, name, **columns)
    message = str(error.value)
    assert message.isprintable()
    return message.removeprefix(f"{folder}/")


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def system(content: str) -> dict[str, str]:
    return {"role": "system", "content": content}
