"""Trackers, the real packages without a network.

Each run has a process of its own, since W&B reads its settings once for each.
"""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import struct
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.commands import new_command
from kto_tui.core.events import AlertRaised, CommandDone, Evaluated, Event, RunEnded, StepLogged
from kto_tui.run.worker import WorkerProcess
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
    if missing := {*names} - {*HERE}:
        pytest.skip(f"not installed: {', '.join(missing)}")


def rows_sent(folder: Path) -> list[int]:
    """How many rows each tracker was handed, as the run has written it down so far."""
    try:
        kept = json.loads((folder / "out" / "trackers.json").read_text())
    except FileNotFoundError:
        return []
    return [tracker["rows"] for tracker in kept.values()]


class Killed:
    """Paused after its third step, and killed once every tracker was handed all there was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = 0
        self.step = 0

    def __call__(self, event: Event, worker: WorkerProcess) -> None:
        if isinstance(event, StepLogged):
            self.step, self.rows = event.step, self.rows + 1
            if event.step == 3:
                worker.send(new_command("pause"))
        elif isinstance(event, Evaluated):
            self.rows += 1
        elif isinstance(event, CommandDone):
            deadline = time.monotonic() + 60
            while rows_sent(self.folder) != [self.rows] * len(HERE):
                assert time.monotonic() < deadline, rows_sent(self.folder)
                time.sleep(0.05)
            worker.kill()


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """Killed, and resumed from step 2 for two steps beyond; evaluated each second step. Where, and to which.

    It fails at its end: the final model cannot be put in its place, since a file is in its way.
    """
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
        settings |= {"eval_fraction": 0.2, "wandb_run_name": "gherkin-7", "save_total_limit": 99}
        killed = Killed(folder)
        _, exit_code = work(tiny(folder, max_steps=200, **settings), killed)
        assert exit_code == -signal.SIGKILL
        (folder / "out" / "final_model").write_text("")
        again = {"max_steps": killed.step + 2, "resume_from_checkpoint": str(folder / "out" / "checkpoint-2")}
        heard, _ = work(tiny(folder, **settings, **again))
        assert (end(heard).status, alerts(heard)) == ("failed", [])
        yield folder, killed.step + 2


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
def test_a_resumed_run_goes_on_in_its_run(resumed: tuple[Path, int], name: str) -> None:
    """Under the same names everywhere. No step is lost; where none is buffered, none is there twice."""
    needs(name)
    folder, last = resumed
    readers = {"tensorboard": of_tensorboard, "mlflow": of_mlflow, "trackio": of_trackio, "wandb": of_wandb}
    found = readers[name](folder)
    every = {"train": range(1, last + 1), "eval": range(2, last + 1, 2)}
    names = {
        "train": ("loss", "rewards/chosen", "rewards/margins", "learning_rate", "gpu_memory_bytes"),
        "eval": ("loss", "rewards/chosen", "rewards/auc"),
    }
    for kind, metrics in names.items():
        for metric in metrics:
            steps = found[f"{kind}/{metric}"]
            if name in ("tensorboard", "mlflow"):
                assert steps == [*every[kind]]
            else:  # A killed process may have taken those before its checkpoint along.
                assert {step for step in every[kind] if step > 2} <= {*steps} <= {*every[kind]}
    assert not [
        other for other in found if "eval_" in other or (other.endswith("runtime") and "train" in other)
    ]


def test_a_failed_run_is_failed_there_too(resumed: tuple[Path, int]) -> None:
    needs("wandb", "mlflow")
    output = resumed[0] / "out"
    logs = sorted(output.glob("wandb/offline-run-*/logs/debug.log"), key=os.path.getmtime)
    assert "got exitcode: 1" in logs[-1].read_text(encoding="utf-8")
    (meta,) = (output / "mlruns").glob("[1-9]*/*/meta.yaml")
    assert "status: 4" in meta.read_text()  # MLflow's number of FAILED.
    assert "run_name: gherkin-7" in meta.read_text()
    assert "name: thumbs" in (meta.parents[1] / "meta.yaml").read_text()


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """An address that takes every connection, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No MLflow server, under an address with a login, and a file where TensorBoard is to have a folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:{KEY}@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "file" / "below"))


def holds_key(output: Path) -> bool:
    return any(KEY.encode() in path.read_bytes() for path in output.rglob("*") if path.is_file())


@pytest.mark.slow
def test_trackers_in_trouble_hold_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs, one without a server, one without a folder: each told of once, and no key anywhere."""
    needs("wandb", "mlflow", "tensorboard")
    trouble(tmp_path, monkeypatch)
    told: list[str] = []

    def stop(event: Event, worker: WorkerProcess) -> None:
        if isinstance(event, AlertRaised) and event.kind == "tracker_failed":
            told.append(event.message)
            if len(told) == 2:
                worker.send(new_command("stop"))

    with silent_server() as address:
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        config = tiny(tmp_path, report_to="wandb,mlflow,tensorboard", max_steps=5000, grace_seconds=5)
        heard, exit_code = work(config, stop)
    assert (end(heard).status, exit_code) == ("stopped", 0)
    assert told[2:] == ["tracker wandb: not done 0.5 s after the run's end"]
    first, second = sorted(told[:2])
    assert first.startswith("tracker mlflow: MlflowException: ")
    assert second.startswith("tracker tensorboard: NotADirectoryError: ")
    assert KEY not in str(heard)
    assert not holds_key(tmp_path / "out")
    assert not (tmp_path / "out" / "trackers.json").exists()


@pytest.mark.slow
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
    assert not holds_key(tmp_path / "out")


@pytest.mark.slow
def test_trackers_that_fail_are_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login that is missing, a server that is not there, and a file where a folder is wanted."""
    needs("wandb", "mlflow", "tensorboard")
    monkeypatch.setenv("WANDB_MODE", "online")
    trouble(tmp_path, monkeypatch)
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
