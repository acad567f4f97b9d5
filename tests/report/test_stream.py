"""Printing to streams of all kinds, and to ones that go away."""

import fcntl
import io
import itertools
import os
import pty
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from kto_tui.report.stream import LineQueue, LineWriter, supports_color, supports_unicode

PRINT_AFTER_HANGUP = """
import signal, sys
from kto_tui.report.stream import LineQueue, LineWriter
signal.signal(signal.SIGHUP, signal.SIG_IGN)
writer = {writer}
writer.write("first")
sys.stdin.readline()
for number in range(100_000):
    writer.write(f"line {{number}}")
{end}
sys.stderr.write(f"gone={{writer.gone}}")
"""
WRITERS = pytest.mark.parametrize(
    "program",
    [
        pytest.param(PRINT_AFTER_HANGUP.format(writer="LineWriter(sys.stdout)", end=""), id="waiting"),
        pytest.param(
            PRINT_AFTER_HANGUP.format(writer="LineQueue(sys.stdout, 'x')", end="writer.close()"), id="queued"
        ),
    ],
)
PRINT_TO_NOBODY = """
import sys
from kto_tui.report.stream import LineQueue
with LineQueue(sys.stdout, "x") as lines:
    for number in range(9_000):
        lines.write(f"line {number}")
sys.stderr.write(f"{lines.gone} {lines.unprinted}")
"""
ALL = "kto-tui attach run --no-ui"
PAGE = 4096  # The smallest pipe there is.
PATIENCE_SECONDS = 30.0


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


@WRITERS
def test_pipe_whose_reader_leaves(program: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", program],
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


@WRITERS
def test_terminal_that_hangs_up(program: str) -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program],
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


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """A small pipe: its end to read from, unbuffered, and the stream that fills it."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
    with os.fdopen(reader, "rb", buffering=0), os.fdopen(writer, "w", encoding="utf-8") as filled:
        yield reader, filled


def read_until(reader: int, end: str) -> list[str]:
    """The lines that come, up to the one that ends so."""
    text = b""
    while not text.endswith(f"{end}\n".encode()):
        text += os.read(reader, PAGE)
    return text.decode().splitlines()


def wait_until_stalled(lines: LineQueue) -> None:
    """Until the thread has filled the pipe: no line is taken any more."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    before = -1
    while lines.unprinted != before:
        assert time.monotonic() < deadline
        before = lines.unprinted
        time.sleep(0.2)


def _write_all(writer: LineQueue | LineWriter, numbers: range) -> None:
    for number in numbers:
        writer.write(f"line {number}")


def write_in_time(lines: LineQueue, numbers: range) -> None:
    """Write numbered lines; fails, rather than hangs, if that waits for the reader."""
    thread = threading.Thread(target=_write_all, args=(lines, numbers), daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "writing waits for the reader"


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
def test_a_reader_who_stands_still_holds_nobody_up_and_loses_nothing(
    pipe: tuple[int, TextIO], blocking: bool
) -> None:
    reader, stream = pipe
    os.set_blocking(stream.fileno(), blocking)
    with LineQueue(stream, ALL) as lines:
        write_in_time(lines, range(5000))
        wait_until_stalled(lines)
        assert 4000 < lines.unprinted < 5000
        write_in_time(lines, range(5000, 6000))
        assert read_until(reader, "line 5999") == [f"line {n}" for n in range(6000)]
    assert lines.unprinted == 0
    assert not lines.gone


def test_what_is_dropped_is_told_once_in_its_place(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    with LineQueue(stream, ALL, limit=1000) as lines:
        write_in_time(lines, range(900))
        wait_until_stalled(lines)
        write_in_time(lines, range(900, 9000))
        shown = read_until(reader, "line 8999")
        lines.write("the end")
        assert read_until(reader, "the end") == ["the end"]
    ((place, told),) = [(at, line) for at, line in enumerate(shown) if not line.startswith("line")]
    before, after = shown[:place], shown[place + 1 :]
    assert before == [f"line {n}" for n in range(place)]
    assert after == [f"line {n}" for n in range(9000 - len(after), 9000)]
    assert 500 <= len(after) <= 1000
    dropped = 9000 - len(before) - len(after)
    assert told == f"{dropped:,} lines were not printed while nobody read; all of them: {ALL}"


def test_a_stopped_terminal_holds_nobody_up() -> None:
    """Ctrl+S, and Ctrl+Q."""
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal, os.fdopen(leader, "rb", buffering=0):
        termios.tcflow(follower, termios.TCOOFF)
        lines = LineQueue(terminal, ALL)
        write_in_time(lines, range(100))
        wait_until_stalled(lines)
        assert lines.unprinted == 100
        termios.tcflow(follower, termios.TCOON)
        text = b""
        while not text.endswith(b"line 99\r\n"):
            text += os.read(leader, PAGE)
        lines.close()
        assert text.decode().splitlines() == [f"line {n}" for n in range(100)]
        assert lines.unprinted == 0


def test_queued_lines_are_out_once_it_is_closed(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as file:
        file.write("before\n")
        with LineQueue(file, ALL) as lines:
            for number in range(1000):
                lines.write(f"Läufe {number}")
        expected = ["before", *(rf"L\xe4ufe {n}" for n in range(1000))]
        assert (tmp_path / "out").read_text(encoding="ascii").splitlines() == expected
        assert lines.unprinted == 0


def test_closing_waits_while_the_reader_takes_lines(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slower than a stall is long, but never still for that long."""
    monkeypatch.setattr("kto_tui.report.stream.STALLED_SECONDS", 0.5)
    reader, stream = pipe
    lines = LineQueue(stream, ALL)
    write_in_time(lines, range(2000))
    wait_until_stalled(lines)
    shown: list[bytes] = []

    def read_slowly() -> None:
        while not b"".join(shown[-2:]).endswith(b"line 1999\n"):
            time.sleep(0.1)
            shown.append(os.read(reader, PAGE // 2))

    slow = threading.Thread(target=read_slowly)
    slow.start()
    began = time.monotonic()
    lines.close()
    assert time.monotonic() - began > 0.5
    assert lines.unprinted == 0
    slow.join()
    assert b"".join(shown).decode().splitlines() == [f"line {n}" for n in range(2000)]


def test_a_process_ends_though_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with subprocess.Popen(
        [sys.executable, "-c", PRINT_TO_NOBODY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
        gone, unprinted = process.stderr.read().split()
        shown = process.stdout.read()
    assert shown.endswith("\n")
    lines = shown.splitlines()
    assert lines == [f"line {n}" for n in range(len(lines))]
    assert gone == "False"
    assert int(unprinted) == 9_000 - len(lines)


def test_a_reader_who_waits_gets_a_long_print_whole(pipe: tuple[int, TextIO]) -> None:
    """As `attach --no-ui` prints: it is only a reader itself, and may wait."""
    reader, stream = pipe
    writer = LineWriter(stream)
    printing = threading.Thread(target=_write_all, args=(writer, range(100_000)))
    printing.start()
    printing.join(0.5)
    assert printing.is_alive(), "the pipe took it all: nothing stood still"
    shown = read_until(reader, "line 99999")
    printing.join()
    assert all(line == f"line {n}" for n, line in zip(itertools.count(), shown, strict=False))
    assert len(shown) == 100_000
