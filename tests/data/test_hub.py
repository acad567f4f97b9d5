"""Data sets on the hub, which here is a small server on this machine, or nothing at all.

The libraries take their settings from the environment when they are imported, so each test asks from a
process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from kto_tui.data.hub_rows import HubRows
from tests.fakes.hub import nobody, serving

ASK = """
import json, sys
from dataclasses import astuple
from kto_tui.core.errors import UserError
from kto_tui.data import Columns, check_rows
answers = []
for name in sys.argv[1:]:
    try:
        answers.append(astuple(check_rows(name, Columns()))[:2])
    except UserError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def ask(endpoint: str, home: Path, *names: str, **variables: str) -> list[str | list[int]]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names],
        env={**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "Retrying" not in done.stderr
    answers: list[str | list[int]] = json.loads(done.stdout)
    return answers


def test_what_the_hub_refuses(tmp_path: Path) -> None:
    with serving(error=(403, "GatedRepo")) as address:
        (gated,) = ask(address, tmp_path, "org/rows")
    with serving(error=(404, "RepoNotFound")) as address:
        gone, odd, name = ask(address, tmp_path, "gone", "a--b", "csv")
    log_in = "set HF_TOKEN or run: hf auth login"
    assert gated == f"org/rows is gated: accept its licence on the data set's page, then {log_in}"
    assert gone == f"gone: the hub has no such data set, or it is private; for that, {log_in}"
    assert odd == "a--b: neither a path nor a hub id (owner/name)"
    assert name == "csv is the name of a format; give a .json, .jsonl, .csv or .parquet file"


def test_no_hub(tmp_path: Path) -> None:
    with nobody() as address:
        assert ask(address, tmp_path, "org/rows") == [
            "org/rows: the hub cannot be reached, no data set of that name is in the local cache,"
            " and it is no file; give a .json, .jsonl, .csv or .parquet file"
        ]


def test_offline_by_request(tmp_path: Path) -> None:
    asked: list[str] = []
    with serving(asked=asked) as address:
        (said,) = ask(address, tmp_path, "org/rows", HF_HUB_OFFLINE="1")
    assert str(said).startswith("org/rows: HF_HUB_OFFLINE is set, no data set of that name is in the local")
    assert asked == []


MAKE_CACHED = """
import json, sys
from pathlib import Path
import datasets
rows, cache = sys.argv[1:3]
text = datasets.Value("string")
rated = {"prompt": text, "completion": text, "label": datasets.ClassLabel(names=["yes", "no"])}
for place in sys.argv[3:]:
    name, config, *splits = place.split(":")
    files = {split: rows for split in splits}
    datasets.load_dataset("json", data_files=files, cache_dir=cache, features=datasets.Features(rated))
    made = next(Path(cache, "json").glob("*/*/*/"))
    kept = Path(cache, f"org___{name}", config, "0.0.0", "0" * 16)
    kept.parent.mkdir(parents=True)
    made.rename(kept)
    for file in kept.glob("json-*.arrow"):
        file.rename(kept / file.name.replace("json-", f"{name}-"))
    about = kept / "dataset_info.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "config_name": config}))
"""


def test_data_sets_in_the_cache_need_no_hub(tmp_path: Path) -> None:
    """Their labels are stored as numbers that stand for names, and here 0 stands for yes."""
    rows = tmp_path / "rows.jsonl"
    record = {"prompt": "a", "completion": "b"}
    rows.write_text("".join(json.dumps({**record, "label": label}) + "\n" for label in ("yes", "no", "yes")))
    places = ["kept:default:train", "many:de:train:test", "many:en:train_prefs"]
    made = [sys.executable, "-c", MAKE_CACHED, str(rows), str(tmp_path / "datasets"), *places]
    subprocess.run(made, check=True, capture_output=True)
    with serving(error=(503, "Oops")) as address:
        assert ask(address, tmp_path, "org/kept") == [[2, 1]]
    rated = {
        "org/kept": [2, 1],
        "org/many:de": [2, 1],
        "org/many:de:test=2": [4, 2],
        "org/kept,org/many:en:train_prefs": [4, 2],
    }
    wrong = {
        "org/many": "has several configurations; found de, en; choose one as in org/many:de",
        "org/many:fr": 'no configuration "fr"; found de, en; choose one as in org/many:de',
        "org/many:en": 'no split "train"; found train_prefs; choose one as in org/many:en:train_prefs',
        "org/kept::test": 'no split "test"; found train; choose one as in org/kept::train',
    }
    with nobody() as address:
        answers = ask(address, tmp_path, *rated, *wrong)
    refusals = [f"{name.partition(':')[0]}: {said}" for name, said in wrong.items()]
    assert answers == [*rated.values(), *refusals]


def test_keys_that_a_row_does_not_have() -> None:
    """The rows are Arrow's; what was stored as JSON text keeps the nulls that were written."""
    import datasets

    written = [{"city": "Oslo", "default": None}]
    features = datasets.Features(
        calls=[{"name": datasets.Value("string"), "arguments": {"city": datasets.Value("string")}}],
        tools=datasets.List(datasets.Json()),
        note=datasets.Value("string"),
    )
    rows = [
        {"calls": [{"name": "f", "arguments": {"city": None}}], "tools": written, "note": None},
        {"calls": [{"name": "g", "arguments": None}, None], "tools": None, "note": "x"},
        {"calls": None, "tools": written, "note": None},
    ]
    read = [record for _, record in HubRows("a/b", datasets.Dataset.from_list(rows, features)).records()]
    assert read == [
        {"calls": [{"name": "f", "arguments": {}}], "tools": written, "note": None},
        {"calls": [{"name": "g"}, None], "tools": None, "note": "x"},
        {"calls": None, "tools": written, "note": None},
    ]
