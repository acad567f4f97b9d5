"""Trackers, the real packages without a network.

Each run has a process of its own, since W&B reads its settings once for each.
"""

import contextlib
import json
import socket
import sqlite3
import struct
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.events import AlertRaised, Event, RunEnded
from tests.real_worker.harness import tiny
from tests.real_worker.process import work

pytestmark = pytest.mark.worker

HERE = [name for name in ("wandb", "tensorboard", "mlflow", "trackio") if find_spec(name)]
KEY = "planted0" * 5
Points = dict[str, list[int]]


@pytest.fixture(autouse=True)
def no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "TENSORBOARD_LOGGING_DIR"):
        monkeypatch.delenv(name, raising=False)


def end(heard: list[Event]) -> RunEnded:
    assert isinstance(heard[-1], RunEnded)
    return heard[-1]


def alerts(heard: list[Event]) -> list[AlertRaised]:
    return [event for event in heard if isinstance(event, AlertRaised) and event.kind == "tracker_failed"]


def needs(*names: str) -> None:
    for name in names:
        pytest.importorskip(name)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Six steps, and then again from step 2, as after a crash; evaluated at steps 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("resumed")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "HOME": folder,
            "TRACKIO_DIR": folder / "trackio",
            "WANDB_MODE": "offline",
        }.items():
            patch.setenv(name, str(value))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "TENSORBOARD_LOGGING_DIR"):
            patch.delenv(name, raising=False)
        settings: dict[str, Any] = {"report_to": ",".join(HERE), "wandb_project": "thumbs", "save_steps": 2}
        settings |= {"max_steps": 6, "eval_fraction": 0.2, "wandb_run_name": "gherkin-7"}
        for changes in ({}, {"resume_from_checkpoint": str(folder / "out" / "checkpoint-2")}):
            heard, _ = work(tiny(folder, **settings, **changes))
            assert (end(heard).status, alerts(heard)) == ("completed", [])
        yield folder


def of_tensorboard(folder: Path) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "out" / "tensorboard"))
    found.Reload()
    return {name: [event.step for event in found.Scalars(name)] for name in found.Tags()["scalars"]}


def of_mlflow(folder: Path) -> Points:
    (run,) = (folder / "out" / "mlruns").glob("[1-9]*/*/metrics")
    files = [path for path in run.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(run)): [int(line.split()[2]) for line in path.read_text().splitlines()]
        for path in files
    }


def of_trackio(folder: Path) -> Points:
    with contextlib.closing(sqlite3.connect(folder / "trackio" / "thumbs.db")) as base:
        rows = base.execute("SELECT DISTINCT run_name FROM metrics").fetchall()
        assert len(rows) == 1
        return points(
            json.loads(text) for (text,) in base.execute("SELECT metrics FROM metrics ORDER BY step")
        )


def of_wandb(folder: Path) -> Points:
    from wandb.proto import wandb_internal_pb2

    logs = sorted((folder / "out").glob("wandb/offline-run-*/*.wandb"))
    assert len(logs) == 2
    assert len({log.name for log in logs}) == 1  # The name is the run's id.
    history = []
    for content in (content for log in logs for content in wandb_records(log.read_bytes())):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        row = {
            "/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item
        }
        if row:
            history.append(row)
    counted = [row["_step"] for row in history]
    assert counted == sorted(set(counted))
    return points(iter(history))


def wandb_records(content: bytes) -> Iterator[bytes]:
    """W&B's file is a LevelDB log: blocks of 32 KiB, parts with a head of checksum, length and kind."""
    at, whole = 7, b""
    while at + 7 <= len(content):
        if (left := -at % 32768) and left < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # Whole, or the last part.
            yield whole
            whole = b""


def points(rows: Iterator[dict[str, Any]]) -> Points:
    found: Points = {}
    for row in rows:
        for name in row:
            found.setdefault(name, []).append(row["train/global_step"])
    return found


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "trackio", "wandb"])
def test_a_resumed_run_goes_on_in_its_run(resumed: Path, name: str) -> None:
    """Under the same names everywhere, and no step twice."""
    needs(name)
    readers = {"tensorboard": of_tensorboard, "mlflow": of_mlflow, "trackio": of_trackio, "wandb": of_wandb}
    found = readers[name](resumed)
    for metric in ("loss", "rewards/chosen", "rewards/margins", "learning_rate", "gpu_memory_bytes"):
        assert found[f"train/{metric}"] == [1, 2, 3, 4, 5, 6]
    for metric in ("loss", "rewards/chosen", "rewards/auc"):
        assert found[f"eval/{metric}"] == [2, 4, 6]
    assert not [
        other for other in found if "eval_" in other or (other.endswith("runtime") and "train" in other)
    ]


def test_a_failed_run_is_failed_there_too(tmp_path: Path) -> None:
    """The final model cannot be put in its place, since a file is in its way. Names are the usual ones."""
    needs("wandb", "mlflow")
    config = tiny(tmp_path, max_steps=1, report_to="mlflow", wandb=True)
    (tmp_path / "out" / "final_model").write_text("")
    heard, exit_code = work(config)
    assert (end(heard).status, exit_code) == ("failed", 1)
    (log,) = (tmp_path / "out").glob("wandb/offline-run-*/logs/debug.log")
    assert "got exitcode: 1" in log.read_text(encoding="utf-8")
    (meta,) = (tmp_path / "out" / "mlruns").glob("[1-9]*/*/meta.yaml")
    assert "status: 4" in meta.read_text()  # MLflow's number of FAILED.
    assert "run_name: out" in meta.read_text()
    assert "name: kto-tui" in (meta.parents[1] / "meta.yaml").read_text()


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """An address that takes every connection, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_servers_that_hang_hold_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the training nor the end of the process, and their keys are told nowhere."""
    needs("wandb", "mlflow")
    with silent_server() as address:
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", KEY)
        began = time.monotonic()
        heard, exit_code = work(tiny(tmp_path, report_to="wandb,mlflow", max_steps=4, grace_seconds=50))
        assert time.monotonic() - began < 60  # W&B by itself takes two minutes.
    assert (end(heard).status, exit_code) == ("completed", 0)
    told = [alert.message for alert in alerts(heard)]
    assert told == [f"tracker {name}: not done 5 s after the run's end" for name in ("wandb", "mlflow")]
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(KEY.encode() in content for content in written)


def test_trackers_that_fail_are_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login that is missing, a server that is not there, and a file where a folder is wanted."""
    needs("wandb", "mlflow", "tensorboard")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:{KEY}@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "file" / "below"))
    heard, exit_code = work(tiny(tmp_path, report_to="wandb,mlflow,tensorboard", max_steps=3))
    assert (end(heard).status, exit_code) == ("completed", 0)
    told = sorted(alert.message for alert in alerts(heard))
    assert len(told) == 3
    assert told[0].startswith("tracker mlflow: MlflowException: ")
    assert told[1].startswith("tracker tensorboard: NotADirectoryError: ")
    assert told[2].startswith("tracker wandb: UsageError: ")
    assert KEY not in str(heard)
    assert KEY not in (tmp_path / "out" / "run.log").read_text()
    assert not (tmp_path / "out" / "trackers.json").exists()
