"""Weights & Biases, the real package without a network.

Each run has a process of its own, since W&B reads its settings once for each.
"""

from pathlib import Path

import pytest

from kto_tui.core.events import Event, RunEnded
from tests.real_worker.harness import tiny
from tests.real_worker.process import work

pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)


def end(heard: list[Event]) -> RunEnded:
    assert isinstance(heard[-1], RunEnded)
    return heard[-1]


def test_metrics_reach_it(tmp_path: Path) -> None:
    """What it wrote is read back from its own file."""
    config = tiny(tmp_path, max_steps=2, wandb=True, wandb_project="thumbs", wandb_run_name="gherkin-7")
    heard, _ = work(config)
    assert end(heard).status == "completed"
    (log,) = (tmp_path / "out").glob("wandb/offline-run-*/*.wandb")
    content = log.read_bytes()
    for name in (b"thumbs", b"gherkin-7", b"train/rewards/margins", b"train/gpu_memory_bytes"):
        assert name in content
    assert "got exitcode: 0" in (log.parent / "logs" / "debug.log").read_text(encoding="utf-8")


def test_a_failed_run_is_failed_there_too(tmp_path: Path) -> None:
    """The final model cannot be put in its place, since a file is in its way."""
    config = tiny(tmp_path, max_steps=1, wandb=True)
    (tmp_path / "out" / "final_model").write_text("")
    heard, exit_code = work(config)
    assert (end(heard).status, exit_code) == ("failed", 1)
    (log,) = (tmp_path / "out").glob("wandb/offline-run-*/logs/debug.log")
    assert "got exitcode: 1" in log.read_text(encoding="utf-8")


def test_a_missing_login_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    heard, exit_code = work(tiny(tmp_path, max_steps=1, wandb=True))
    assert (end(heard).status, exit_code) == ("failed", 2)
    error = str(end(heard).error)
    assert "log in with `wandb login`, or set WANDB_MODE=offline" in error
    assert "\n" not in error
