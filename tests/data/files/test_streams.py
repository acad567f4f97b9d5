"""What is no file, and how much of a file is held in memory."""

import errno
import io
import itertools
import os
import socket
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kto_tui.data.files import csv_table, json_lines, json_list, read_records
from kto_tui.data.files.limits import MIB
from tests.data.files.writing import packed, refusal_of, zipped

LINE = b'{"prompt": "How long is it?", "completion": "Endless: \\u221e", "label": true}'


class Endless(io.RawIOBase):
    """A stream that begins with `first` and repeats `row` for ever."""

    def __init__(self, first: bytes, row: bytes) -> None:
        super().__init__()
        self._pieces = itertools.chain([first], itertools.repeat(row * 100))
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._left = self._left or next(self._pieces)
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def endless(kind: str) -> Iterator[tuple[str, Any]]:
    match kind:
        case "json":
            return json_list.read_json(opened(b"[" + LINE, b",\n" + LINE), "a", None)
        case "lines":
            return json_list.read_json(opened(b"", LINE + b"\n"), "a", None)
        case "object":
            return json_list.read_json(opened(b'{"a": {}, "rows": [' + LINE, b"," + LINE), "a", None)
        case "jsonl":
            return json_lines.read_json_lines(opened(b"", LINE + b"\n"), "a", None)
    return csv_table.read_csv(opened(b"prompt,label\n", b'"How,\r\nlong?",1\n'), "a", None)


def opened(first: bytes, row: bytes) -> io.BufferedReader:
    return io.BufferedReader(Endless(first, row))


@pytest.mark.parametrize("kind", ["json", "lines", "object", "jsonl", "csv"])
def test_memory_does_not_grow_with_the_rows(kind: str) -> None:
    records = endless(kind)
    next(records)
    tracemalloc.start()
    last = next(itertools.islice(records, 30_000, None))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert last[0] == "a, row 30002"
    assert peak_bytes < 4 * MIB


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
def test_memory_does_not_grow_with_a_bomb(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"a.jsonl{ending}").write_bytes(packed(ending, bytes(64 * MIB)))
    tracemalloc.start()
    refusal_of(tmp_path / f"a.jsonl{ending}")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 64 * MIB


def test_an_endless_listing_of_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.seek(2**30)  # Takes no room on the disk.
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65_535, 65_535, 2**30, 0, 0))
    tracemalloc.start()
    assert refusal_of(path).startswith(": not a whole ZIP archive: BadZipFile: too many members")
    assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    tracemalloc.stop()


def test_a_zip_of_many_members(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(*((f"{n}.jsonl", b"") for n in range(2000))))
    assert refusal_of(tmp_path / "a.zip").startswith(
        ": 2000 data files in the archive (0.jsonl, 1.jsonl, 2.jsonl, …)"
    )


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("a.jsonl")
    assert refusal_of(Path("a.jsonl")) == ": a named pipe; expected a file or a folder"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("b.jsonl")
        assert refusal_of(Path("b.jsonl")) == ": a socket; expected a file or a folder"
    Path("c.jsonl").symlink_to("/dev/zero")
    assert refusal_of(Path("c.jsonl")) == ": a device; expected a file or a folder"
    Path("d.jsonl").symlink_to("d.jsonl")
    assert refusal_of(Path("d.jsonl")) == f": cannot be read: {os.strerror(errno.ELOOP)}"
    Path("e.jsonl").symlink_to("gone.jsonl")
    for name in ("e.jsonl", "gone.jsonl", "c.jsonl/x.jsonl", "a\0.jsonl"):
        assert refusal_of(Path(name)) == ": no such file"


def test_a_disk_that_cannot_be_read(tmp_path: Path) -> None:
    """The first address of a process holds nothing on Linux."""
    (tmp_path / "a.jsonl").symlink_to("/proc/self/mem")
    assert refusal_of(tmp_path / "a.jsonl") == f": cannot be read: {os.strerror(errno.EIO)}"


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("broken")
    read_records(tmp_path / "a.jsonl", "a")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b""),
        ("a.json", b" \n"),
        ("a.json", b"\xef\xbb\xbf"),
        ("a.json", b"[ ]"),
        ("a.json", b'{"rows": []}'),
        ("a.jsonl", b""),
        ("a.jsonl", b"\n\r\n \n"),
        ("a.csv", b""),
        ("a.csv", b"\n"),
        ("a.csv", b"prompt,label"),
        ("a.tsv", b"prompt\tlabel\r\n"),
        ("a.jsonl.gz", packed(".gz", b"")),
        ("a.jsonl.bz2", packed(".bz2", b"")),
        ("a.jsonl.xz", packed(".xz", b"")),
        ("a.jsonl.zst", packed(".zst", b"")),
        ("a.zip", zipped(("a.csv", b""))),
    ],
)
def test_no_rows(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert list(read_records(tmp_path / name, "a")) == []
