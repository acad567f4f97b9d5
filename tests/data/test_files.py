"""The file formats, whole and broken."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kto_tui.core.counts import Counts
from kto_tui.core.errors import UserError
from kto_tui.data import Columns, check_rows, load_rows

RECORDS: list[dict[str, Any]] = [
    {"prompt": "Größer: 2 or 3?", "completion": "3,\nI think", "label": True},
    {"prompt": "2 + 2?", "completion": 'It is "5".', "label": False},
]
GOOD = b'{"prompt": "a", "completion": "b", "label": true}\n'


def save(path: Path, records: list[dict[str, Any]]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(records), encoding="utf-8")
    elif path.suffix == ".jsonl":
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        path.write_text("".join(lines), encoding="utf-8")
    elif path.suffix == ".csv":
        quoted = (",".join('"' + str(v).replace('"', '""') + '"' for v in r.values()) for r in records)
        path.write_text("\r\n".join([",".join(records[0]), *quoted, ""]), encoding="utf-8", newline="")
    else:
        pq.write_table(pa.Table.from_pylist(records), path)
    return path


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return error_of(path)


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as error:
        check_rows(str(path), Columns())
    message = str(error.value)
    assert message.isprintable()
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet"])
def test_all_formats_give_the_same_rows(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"train.{suffix}", RECORDS)
    rows = list(load_rows(str(path), Columns()))
    assert [(r.prompt, r.completion, r.label) for r in rows] == [tuple(r.values()) for r in RECORDS]
    assert [row.where for row in rows] == [f"{path}, row 1", f"{path}, row 2"]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"train.{suffix}", RECORDS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert check_rows(str(path), Columns()) == Counts(1, 1, longest_bytes=27, longest_answer_bytes=10)


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_conversations(tmp_path: Path, suffix: str) -> None:
    talk = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]
    records = [
        {"messages": talk, "label": True, "id": 1},
        {"messages": talk[:1] + talk, "label": False, "id": 2},
    ]
    path = save(tmp_path / f"train.{suffix}", records)
    first, second = load_rows(str(path), Columns())
    assert (first.prompt, first.completion) == (talk[:1], talk[1:])
    assert (second.prompt, second.label) == (talk[:1] * 2, False)


def test_object_that_holds_one_list(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"version": 2, "data": RECORDS}), encoding="utf-8")
    assert check_rows(str(path), Columns()).total == 2


def test_rows_are_counted_without_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"\n" + GOOD + b"\r\n  \n" + GOOD.replace(b"\n", b""))
    assert [row.where for row in load_rows(str(path), Columns())] == [f"{path}, row 1", f"{path}, row 2"]


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(GOOD + b"broken")
    rows = load_rows(str(path), Columns())
    assert next(rows).label is True
    with pytest.raises(UserError):
        next(rows)


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet"])
def test_the_row_of_a_bad_label(tmp_path: Path, suffix: str) -> None:
    records = [{**RECORDS[0], "label": "yes"}] * 300 + [{**RECORDS[1], "label": "maybe"}]
    message = error_of(save(tmp_path / f"train.{suffix}", records))
    assert message.startswith(', row 301: "label" is "maybe"; expected true/false')


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet"])
def test_columns_that_are_there_are_named(tmp_path: Path, suffix: str) -> None:
    records = [{"a": "x", "completion": "y", "label": True, "z": 1}]
    message = error_of(save(tmp_path / f"train.{suffix}", records))
    assert message.startswith(', row 1: no column "prompt"; found a, completion, label, z')


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"[]"),
        ("a.json", b" "),
        ("a.json", b'{"data": []}'),
        ("a.jsonl", b""),
        ("a.jsonl", b"\n\n"),
        ("a.csv", b""),
        ("a.csv", b"prompt,completion,label\n"),
    ],
)
def test_no_rows(tmp_path: Path, name: str, content: bytes) -> None:
    assert refusal(tmp_path / name, content) == " holds no rows"


def test_parquet_without_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": [], "completion": [], "label": []}), tmp_path / "a.parquet")
    assert error_of(tmp_path / "a.parquet") == " holds no rows"


@pytest.mark.parametrize(("label", "kind"), [(b"true", "desirable"), (b"false", "undesirable")])
def test_one_class_only(tmp_path: Path, label: bytes, kind: str) -> None:
    message = refusal(tmp_path / "a.jsonl", GOOD.replace(b"true", label) * 40)
    assert message.startswith(f": all 40 rows are {kind}; KTO needs both")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", GOOD + b'{"prompt": "a",\n', ", line 2, column 1"),
        ("a.jsonl", GOOD + b"\n[1, 2\n", ", line 3"),
        ("a.jsonl", b"[\n" + GOOD, ", line 1"),
        ("a.jsonl", GOOD + b'{"prompt": "caf\xe9"}\n', ", line 2: not UTF-8"),
        ("a.jsonl", "{}".encode("utf-16"), ', row 1: no column "prompt"'),
        ("a.jsonl", b"\x00" * 40, ", line 1, column 1: not JSON"),
        ("a.jsonl", b"[" * 200_000, ", line 1: lists or objects are nested too deeply"),
        ("a.jsonl", GOOD + b'{"a": ' * 200_000, ", line 2: lists or objects are nested too deeply"),
        ("a.jsonl", b'{"label": ' + b"9" * 5000 + b"}", ", line 1: not JSON that can be read"),
        (
            "a.json",
            b"[" + GOOD[:-1] + b',\n {"prompt" "b"}]',
            ", line 2, column 12: not JSON: Expecting ':' delimiter (row 2)",
        ),
        ("a.json", GOOD * 2 + b"]", ", line 3, column 1: not JSON: Expecting value (row 3)"),
        ("a.json", b"[\n" * 200_000, ", line 2: lists or objects are nested too deeply"),
        ("a.json", b"\xff\xfe[\x00", ", line 1, column 2: it ends in the middle"),
        ("a.json", b'"rows"', ': found "rows"; expected a list of rows'),
        ("a.json", b'{"a": [], "b": []}', ": found an object with 2 lists; expected"),
        ("a.json", b"[1]", ", row 1: found 1; expected an object"),
        ("a.csv", b"prompt,completion,label\na,b\n", ", row 1: found 2 cells; expected 3"),
        ("a.csv", b"prompt,completion,label\na,b,1\na,b,1,c\n", ", row 2: found 4 cells; expected 3"),
        ("a.csv", b'prompt,completion,label\na,"b,1\nc,d,0\n', ", row 1 (line 3): not CSV"),
        ("a.csv", b"prompt,completion,label\na,b,1\nc,\xe9,0\n", ", line 3: not UTF-8"),
        ("a.csv", b"prompt,completion,label\na\x00,b,1\n", ', row 1: "prompt" holds a NUL'),
        (
            "a.csv",
            b"prompt,completion,label\na,b,1\na,c,-1\n",
            ': "label" is "-1"; expected true/false',
        ),
        ("a.csv", b"prompt,label,label\na,b,1\n", ': two columns are called "label"'),
        ("a.csv", b"prompt;completion;label\na;b;maybe\n", ', row 1: "label" is "maybe"; expected true'),
        ("a.parquet", b"", ": not a whole Parquet file"),
        ("a.parquet", b"PAR1" + b"\x00" * 100, ": not a whole Parquet file"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    assert refusal(tmp_path / name, content).startswith(expected)


def test_parquet_cut_short(tmp_path: Path) -> None:
    path = save(tmp_path / "a.parquet", RECORDS * 2000)
    assert refusal(path, path.read_bytes()[:-50]).startswith(": not a whole Parquet file")


def test_parquet_damaged_in_the_middle(tmp_path: Path) -> None:
    records = [{**RECORDS[n % 2], "completion": f"answer {n * 7919 % 10_007}"} for n in range(4000)]
    content = bytearray(save(tmp_path / "a.parquet", records).read_bytes())
    content[2000:6000] = b"\x5a" * 4000
    assert "not a whole Parquet file" in refusal(tmp_path / "a.parquet", bytes(content))


@pytest.mark.parametrize("name", ["gone.jsonl", "./gone", "/gone/owner/name", "~/gone.csv", "gone.parquet"])
def test_missing_file(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name}: no such file$"):
        load_rows(name, Columns())


def test_folder_without_data(tmp_path: Path) -> None:
    assert error_of(tmp_path).startswith(
        ": no data file in the folder; expected some that end in .json, .jsonl"
    )


def test_folder(tmp_path: Path) -> None:
    save(tmp_path / "train.jsonl", RECORDS)
    assert [row.where for row in load_rows(str(tmp_path), Columns())] == [
        f"{tmp_path}/train.jsonl, row 1",
        f"{tmp_path}/train.jsonl, row 2",
    ]


def test_unknown_suffix(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.txt", b"").startswith(
        ": the name must end in one of .json, .jsonl, .ndjson, .csv, .tsv, .parquet, .arrow, .zip"
    )


def test_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", RECORDS)
    path.chmod(0)
    try:
        path.read_bytes()
    except PermissionError:
        assert error_of(path) == ": cannot be read: Permission denied"
    else:
        pytest.skip("this user may read everything")


def test_upper_case_suffix(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", RECORDS)
    assert check_rows(str(path.rename(tmp_path / "A.JSONL")), Columns()).total == 2


@pytest.mark.parametrize("label", [True, False])
def test_rows_that_are_only_evaluated_on_may_be_of_one_label(tmp_path: Path, label: bool) -> None:
    kind = "desirable" if label else "undesirable"
    path = save(tmp_path / "held.jsonl", [{"prompt": "p", "completion": "c", "label": label}])
    assert check_rows(str(path), Columns(), both_labels=False) == Counts(int(label), int(not label), 2, 1)
    assert error_of(path).startswith(f": its only row is {kind}; KTO needs both")
    path.write_text("")
    with pytest.raises(UserError):
        check_rows(str(path), Columns(), both_labels=False)
