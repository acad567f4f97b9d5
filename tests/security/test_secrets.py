"""Tokens and keys of the environment: nothing that a run writes or says holds one."""

import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from kto_tui.core.trackers import TRACKERS
from tests.fakes.hub import serving

NAMES = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"),
    *("GITHUB_TOKEN", "DATABASE_URL"),
)
SECRETS = {name: f"{'planted' * 4}-{number:012}" for number, name in enumerate(NAMES, 10**9)}
LEAKED = b"plantedplanted"
RUN = ("--no-ui", "--model-size", "tiny", "--output-dir", "out", "--max-steps", "3", "--save-steps", "1")


Ended = subprocess.CompletedProcess[bytes]


def kto_tui(
    folder: Path, *arguments: str, variables: dict[str, str] | None = None, umask: int = 0o022
) -> Ended:
    """The command in a process of its own, whose environment holds all secrets."""
    own = {name: str(folder / name) for name in ("HOME", "HF_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    here = {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "kto_tui", *arguments]
    environment = {
        **here,
        **own,
        "HF_HUB_OFFLINE": "1",
        "WANDB_MODE": "offline",
        **SECRETS,
        **(variables or {}),
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        umask=umask,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=200,
    )


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, and what is packed in it."""
    for path in sorted(folder.rglob("*")):
        yield f"the name {path}", os.fsencode(path.name)
        if path.is_symlink() or not path.is_file():
            continue
        yield str(path), path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from ((f"{path}: {name}", archive.read(name)) for name in archive.namelist())


def leaks(folder: Path, ended: Ended) -> list[str]:
    said = [("stdout", ended.stdout), ("stderr", ended.stderr)]
    return [where for where, content in (*said, *contents(folder)) if LEAKED in content]


def test_a_leak_would_be_found(tmp_path: Path) -> None:
    """In a file, in a name, and packed as torch does it."""
    quiet = Ended([], 0, b"", b"")
    with zipfile.ZipFile(tmp_path / "args.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", SECRETS["HF_TOKEN"] * 50)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / SECRETS["OPENAI_API_KEY"]).write_text("")
    (tmp_path / "run.log").write_text(f"\0token={SECRETS['WANDB_API_KEY']}")
    assert len(leaks(tmp_path, quiet)) == 3
    assert leaks(tmp_path / "none", Ended([], 0, b"", SECRETS["HF_TOKEN"].encode())) == ["stderr"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A real run, evaluated and tracked, by a user whose umask hides nothing."""
    folder = tmp_path_factory.mktemp("finished")
    names = [name for name in TRACKERS if find_spec(name)]
    tracked = ("--report-to", ",".join(names)) if names else ()
    ended = kto_tui(folder, *RUN, *tracked, "--eval-fraction", "0.1", umask=0)
    assert ended.returncode == 0, ended.stderr.decode()
    return folder, ended


@pytest.mark.worker
def test_a_run_writes_no_secret(finished: tuple[Path, Ended]) -> None:
    folder, ended = finished
    names = {path.name for path in (folder / "out").rglob("*")}
    assert {"run.yaml", "events.jsonl", "run.log", "training_args.bin", "adapter_model.safetensors"} <= names
    assert leaks(folder, ended) == []


@pytest.mark.worker
def test_a_run_writes_nothing_that_others_may_write(
    finished: tuple[Path, Ended],
) -> None:
    folder = finished[0] / "out"
    wide = [
        f"{path.relative_to(folder)} is {stat.S_IMODE(path.stat().st_mode):o}"
        for path in (folder, *folder.rglob("*"))
        if not path.is_symlink() and path.stat().st_mode & 0o022
    ]
    assert wide == []


@pytest.mark.slow
@pytest.mark.worker
def test_a_failed_run_says_no_secret(tmp_path: Path) -> None:
    """The final model cannot be put in its place, since a file is in its way."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "final_model").write_text("")
    ended = kto_tui(tmp_path, *RUN)
    assert ended.returncode == 1
    assert b"TRAINING FAILED" in ended.stdout
    assert leaks(tmp_path, ended) == []


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_what_the_hub_refuses_says_no_secret(tmp_path: Path, status: int) -> None:
    with serving(error=(status, "RepoNotFound" if status == 404 else "Refused")) as address:
        hub = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": address}
        for asked in (("--dataset", "some/rows"), ("--model", "some/model", "--dataset", "builtin:sample")):
            ended = kto_tui(tmp_path, *RUN, *asked, variables=hub)
            assert ended.returncode == 2, ended.stderr.decode()
            assert ended.stderr.startswith(b"kto-tui: ")
            assert leaks(tmp_path, ended) == []


def test_a_proxy_with_a_password_is_not_told(tmp_path: Path) -> None:
    proxy = f"http://user:{SECRETS['DATABASE_URL']}@127.0.0.1:9"
    variables = {"HF_HUB_OFFLINE": "0", "HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "https_proxy": proxy}
    ended = kto_tui(tmp_path, *RUN, "--dataset", "some/rows", variables=variables)
    assert ended.returncode == 2
    assert b"the hub cannot be reached" in ended.stderr
    assert leaks(tmp_path, ended) == []
