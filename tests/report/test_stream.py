"""Printing to streams of all kinds, and to ones that go away."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from kto_tui.report.stream import LineWriter, supports_color, supports_unicode

PRINT_AFTER_HANGUP = """
import signal, sys
from kto_tui.report.stream import LineWriter
signal.signal(signal.SIGHUP, signal.SIG_IGN)
writer = LineWriter(sys.stdout)
writer.write("first")
sys.stdin.readline()
for number in range(100_000):
    writer.write(f"line {number}")
sys.stderr.write(f"gone={writer.gone}")
"""


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize(("encoding", "able"), [("utf-8", True), ("ascii", False), ("latin-1", False)])
def test_boxes_need_an_encoding_that_has_them(
    encoding: str, able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    assert supports_unicode(stream(encoding)) is able


@pytest.mark.parametrize(
    ("environment", "able"),
    [
        ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, False),
        ({"LANG": "POSIX"}, False),
        ({}, False),
        ({"LANG": "C.UTF-8"}, True),
        ({"LC_CTYPE": "de_DE.UTF-8", "LANG": "C"}, True),
        ({"LC_ALL": "C", "PYTHONUTF8": "1"}, True),
    ],
)
def test_boxes_need_a_locale_that_has_them(
    environment: dict[str, str], able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG", "PYTHONUTF8", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert supports_unicode(stream("utf-8")) is able


def test_colour_is_for_terminals_that_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal, os.fdopen(leader, "rb", buffering=0):
        assert supports_color(terminal)
        monkeypatch.setenv("TERM", "dumb")
        assert not supports_color(terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        assert not supports_color(terminal)
        monkeypatch.setenv("NO_COLOR", "")
        assert supports_color(terminal)
    assert not supports_color(terminal)
    assert not supports_color(stream("utf-8"))


def test_lines_are_whole_and_flushed(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        writer = LineWriter(file)
        writer.write("one")
        assert (tmp_path / "out").read_text(encoding="utf-8") == "one\n"
        assert not writer.gone


def test_what_the_stream_cannot_encode_is_escaped() -> None:
    target = stream("ascii")
    LineWriter(target).write("Läufe → ok")
    assert target.buffer.getvalue() == rb"L\xe4ufe \u2192 ok" + b"\n"  # type: ignore[attr-defined]


def test_closed_stream() -> None:
    target = stream("utf-8")
    writer = LineWriter(target)
    target.close()
    writer.write("one")
    writer.write("two")
    assert writer.gone


def test_pipe_whose_reader_leaves() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PRINT_AFTER_HANGUP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "first\n"
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stderr.read() == "gone=True"
    assert process.returncode == 0


def test_terminal_that_hangs_up() -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PRINT_AFTER_HANGUP],
        stdin=subprocess.PIPE,
        stdout=follower,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        os.close(follower)
        assert os.read(leader, 100) == b"first\r\n"
        os.close(leader)
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stderr.read() == "gone=True"
    assert process.returncode == 0
