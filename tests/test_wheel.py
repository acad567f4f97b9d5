"""The wheel, installed away from the checkout: the command, the presets and the worker all come with it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed; its dependencies are those of the environment that tests."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"train_worker.py", "kto_tui/configs/7b.yaml", "kto_tui/data/sample.jsonl"} <= set(names)
    assert "kto_tui/ui/theme.tcss" in names
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    return site


def run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "XDG_STATE_HOME": str(folder)}
    return subprocess.run(
        [str(site / "bin" / "kto-tui"), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def test_help(site: Path, tmp_path: Path) -> None:
    done = run(site, tmp_path, "--help")
    assert done.returncode == 0
    assert "tiny, 135m, 0.5b" in done.stdout


@pytest.mark.slow
@pytest.mark.worker
def test_two_steps_of_the_tiny_model(site: Path, tmp_path: Path) -> None:
    done = run(site, tmp_path, "--no-ui", "--model-size", "tiny", "--max-steps", "2", "--output-dir", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TRAINING COMPLETED" in done.stdout
    assert (tmp_path / "run" / "final_model" / "adapter_model.safetensors").is_file()
    log = (tmp_path / "run" / "run.log").read_text()
    assert str(ROOT / "kto_tui") not in log
