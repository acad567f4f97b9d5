"""Folders of data files: as people keep them, and as `datasets` saves them."""

import errno
import json
import os
from pathlib import Path

import datasets
import pyarrow as pa
import pytest

from kto_tui.data.files.names import is_held_out, is_plain_split
from tests.data.files.writing import columnar, packed, places_of, records_of, refusal_of, written


def fill(folder: Path, *names: str) -> Path:
    """Write files that hold one row each, which tells the file's name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind, *packing = path.name.split(".")[1:]
        path.write_bytes(packed("".join(f".{p}" for p in packing), written(kind, [{"file": name}])))
    return folder


def read(folder: Path) -> list[str]:
    return [record["file"] for record in records_of(folder)]


def test_all_files_in_order(tmp_path: Path) -> None:
    fill(tmp_path, "b/2.jsonl", "b/1.ndjson", "a.jsonl.gz", ".git/x.jsonl", ".hidden.jsonl", "b/.x/y.jsonl")
    (tmp_path / "README.md").write_text("# Rows")
    assert read(tmp_path) == ["a.jsonl.gz", "b/1.ndjson", "b/2.jsonl"]
    assert places_of(tmp_path, "rows/")[1] == "rows/b/1.ndjson, row 1"


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (("train.csv", "test.csv"), ["train.csv"]),
        (("train-00001-of-2.parquet", "train-00000-of-2.parquet", "validation-00000-of-1.parquet"), [1, 0]),
        (("train/a.jsonl", "eval/a.jsonl", "dev.jsonl", "val_2.jsonl"), ["train/a.jsonl"]),
        (("x.jsonl", "y.jsonl", "y_test.jsonl"), ["x.jsonl", "y.jsonl"]),
        (("contest.jsonl", "valued.jsonl", "attestation.jsonl"), [2, 0, 1]),
        (("test.jsonl",), ["test.jsonl"]),
    ],
)
def test_the_training_split(tmp_path: Path, names: tuple[str, ...], kept: list[str | int]) -> None:
    fill(tmp_path, *names)
    assert read(tmp_path) == [names[name] if isinstance(name, int) else name for name in kept]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        *[
            (name, True)
            for name in ("test.csv", "a/validation-00000-of-00001.parquet", "dev/x.jsonl", "test_set.json")
        ],
        *[(name, False) for name in ("user-test-feedback.jsonl", "dev-team.jsonl", "test/eval-of-ann.csv")],
    ],
)
def test_names_that_say_no_more_than_a_split(name: str, plain: bool) -> None:
    assert is_held_out(name)
    assert is_plain_split(name) is plain


def test_a_folder_within_a_folder_of_tests(tmp_path: Path) -> None:
    """The way to the folder says nothing about what is in it."""
    assert read(fill(tmp_path / "tests" / "data", "a.csv")) == ["a.csv"]


def test_several_kinds(tmp_path: Path) -> None:
    fill(tmp_path, "a.csv", "b.jsonl", "c.csv")
    assert refusal_of(tmp_path).startswith(
        ": several kinds of data in the folder (a.csv, b.jsonl); expected one"
    )


def test_no_data(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "dataset_info.json").write_text("{}")
    assert refusal_of(tmp_path).startswith(
        ": no data file in the folder; expected some that end in .json, .jsonl"
    )


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "a.jsonl")
    (tmp_path / "b\x1b[2J.jsonl").write_text("{")
    assert refusal_of(tmp_path).startswith("/b\\x1b[2J.jsonl, line 1, column 2: not JSON")


def test_what_datasets_itself_saves(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"Hi {n}"}], "label": n % 2 == 0} for n in range(5)]
    train = datasets.Dataset.from_list(rows)
    datasets.DatasetDict(train=train, test=train.select([0])).save_to_disk(
        tmp_path, num_shards={"train": 2, "test": 1}
    )
    assert records_of(tmp_path) == rows
    assert records_of(tmp_path / "test") == rows[:1]


def saved(folder: Path, files: list[str], *, others: tuple[str, ...] = ()) -> None:
    """What `Dataset.save_to_disk` writes: shards as Arrow streams, and their names in state.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in [*files, *others]:
        (folder / name).write_bytes(columnar("stream", pa.table({"file": [name]})))
    state = {"_data_files": [{"filename": name} for name in files], "_fingerprint": "1", "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text('{"features": {}}')


def test_saved_by_datasets(tmp_path: Path) -> None:
    """What `map` left in the folder belongs to no data set."""
    shards = [f"data-{n:05}-of-00011.arrow" for n in range(11)]
    saved(tmp_path, shards, others=("cache-5f1d.arrow",))
    assert read(tmp_path) == shards


@pytest.mark.parametrize(
    ("splits", "kept"),
    [(["test", "train"], "train"), (["train_prefs", "test_prefs"], "train_prefs"), (["test"], "test")],
)
def test_splits_saved_by_datasets(tmp_path: Path, splits: list[str], kept: str) -> None:
    for split in splits:
        saved(tmp_path / split, [f"{split}.arrow"])
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    assert read(tmp_path) == [f"{kept}.arrow"]
    assert places_of(tmp_path) == [f"data/{kept}/{kept}.arrow, row 1"]


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        (
            "dataset_dict.json",
            '{"splits": ["a", "b"]}',
            ": the splits are a, b; name the folder of one of them",
        ),
        ("dataset_dict.json", '{"splits": []}', ": the splits are none"),
        ("dataset_dict.json", '{"splits": ["../x"]}', "/dataset_dict.json: no list of splits"),
        ("dataset_dict.json", '{"splits": ["train"]}', "/train: cannot be read: No such file"),
        ("dataset_dict.json", "{", "/dataset_dict.json: not what save_to_disk writes"),
        ("state.json", "[" * 100_000, "/state.json: not what save_to_disk writes"),
        ("state.json", "{}", "/state.json: lists no data files"),
        (
            "state.json",
            '{"_data_files": [{"filename": "../a.arrow"}]}',
            '/state.json: lists the file "../a.arrow"',
        ),
        ("state.json", '{"_data_files": [{"filename": 1}]}', "/state.json: lists the file 1"),
        ("state.json", '{"_data_files": [{"filename": "gone.arrow"}]}', "/gone.arrow: no such file"),
    ],
)
def test_damaged_notes_of_datasets(tmp_path: Path, file: str, text: str, words: str) -> None:
    (tmp_path / file).write_text(text)
    assert refusal_of(tmp_path).startswith(words)


def test_links(tmp_path: Path) -> None:
    """The hub's cache is links to files; links to folders may lead in a circle."""
    fill(tmp_path / "blobs", "1.jsonl")
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.jsonl").symlink_to(tmp_path / "blobs" / "1.jsonl")
    (folder / "again").symlink_to(folder)
    assert places_of(folder) == ["data/a.jsonl, row 1"]
    (folder / "b.jsonl").symlink_to(folder / "b.jsonl")
    assert refusal_of(folder) == f"/b.jsonl: cannot be read: {os.strerror(errno.ELOOP)}"
