"""One run, one supervisor: whatever a crash or a stranger has left of run.lock."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kto_tui.core.errors import UserError
from kto_tui.run.lock import RunLock, is_held

# Waits for a word, races for the lock, tells whether it has it, and holds it until its input ends.
RACER = """
import sys
from pathlib import Path
from kto_tui.core.errors import UserError
from kto_tui.run.lock import RunLock

print("ready", flush=True)
sys.stdin.readline()
try:
    RunLock(Path(sys.argv[1])).acquire()
    print("won", flush=True)
except UserError:
    print("refused", flush=True)
sys.stdin.read()
"""
NOBODY = 65_534


def racer(path: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", RACER, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


@pytest.mark.parametrize("left", [None, b"999999999\n", b"\xff\x00garbage" * 1000, b""])
def test_of_eight_that_race_one_wins(tmp_path: Path, left: bytes | None) -> None:
    path = tmp_path / "run.lock"
    if left is not None:
        path.write_bytes(left)
    racers = [racer(path) for _ in range(8)]
    try:
        assert [said(process) for process in racers] == ["ready"] * 8
        for process in racers:
            tell(process)
        words = [said(process) for process in racers]
        assert sorted(words) == ["refused"] * 7 + ["won"]
        assert is_held(path)
        winner = racers[words.index("won")]
        assert path.read_text() == f"{winner.pid}\n"
    finally:
        for process in racers:
            end(process)
    assert not is_held(path)


def test_a_lock_whose_holder_was_killed_is_free(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    holder = racer(path)
    said(holder)
    tell(holder)
    assert said(holder) == "won"
    with pytest.raises(UserError, match="a run is alive there; watch it with: kto-tui attach"):
        RunLock(path).acquire()
    end(holder)
    with RunLock(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_lock_file_that_is_deleted_and_made_anew_meanwhile_guards_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.lock"
    real, calls = os.open, []

    def replaced_behind_our_back(*arguments: object, **options: object) -> int:
        descriptor = real(*arguments, **options)  # type: ignore[arg-type]
        calls.append(descriptor)
        if len(calls) == 1:
            path.unlink()
            path.write_text("another\n")
        return descriptor

    monkeypatch.setattr(os, "open", replaced_behind_our_back)
    with RunLock(path):
        monkeypatch.undo()
        assert is_held(path)


def as_nobody(path: Path, mode: int) -> str:
    """What a user who is not root hears who starts over a lock file of this mode, his own."""
    code = f"""
import os, sys
from pathlib import Path
from kto_tui.core.errors import UserError
from kto_tui.run.lock import RunLock, is_held

path = Path(sys.argv[1])
if os.geteuid() == 0:
    os.chown(path, {NOBODY}, {NOBODY})
    os.chmod(path, {mode})
    os.setuid({NOBODY})
else:
    os.chmod(path, {mode})
try:
    with RunLock(path):
        print("held" if is_held(path) else "not held")
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that every user reaches."""
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    return tmp_path


def test_a_lock_file_that_is_read_only_still_locks(open_folder: Path) -> None:
    path = open_folder / "run.lock"
    path.write_text("1\n")
    assert as_nobody(path, 0o400) == "held"


def test_a_lock_file_that_cannot_be_opened_is_told(open_folder: Path) -> None:
    path = open_folder / "run.lock"
    path.write_text("1\n")
    assert "run.lock: it may not be opened" in as_nobody(path, 0)


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_plain_file_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "run.lock", tmp_path / "precious"
    target.write_text("precious")
    if kind == "link":
        path.symlink_to(target)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(UserError, match=r"run\.lock: it is no plain file"):
        RunLock(path).acquire()
    assert not is_held(path)
    assert target.read_text() == "precious"
