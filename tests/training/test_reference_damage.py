"""What a crash, a bad disk or a stranger leaves in the cache: never a wrong value, never an exception."""

import os
import struct
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from kto_tui.training.reference import ReferenceCache
from tests.training.test_reference_store import fill, key, known, segments, values

RECORD = 24 + 64 + 8  # Of 16 values.
HEADER = 32


def one_segment(root: Path, count: int) -> tuple[Path, bytes]:
    fill(root, range(count))
    (path,) = segments(root)
    data = path.read_bytes()
    assert len(data) == HEADER + count * RECORD
    return path, data


def reopened(root: Path, numbers: range) -> tuple[list[int], int]:
    with closing(ReferenceCache.open(root, "a")) as cache:
        assert cache.problem is None
        return known(cache, numbers), cache.damaged


def test_a_flipped_byte_costs_its_record_and_no_other(tmp_path: Path) -> None:
    path, data = one_segment(tmp_path, 3)
    for offset in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            path.unlink(missing_ok=True)
            path.write_bytes(data[:offset] + bytes([data[offset] ^ flip]) + data[offset + 1 :])
            found, damaged = reopened(tmp_path, range(3))
            hit = (offset - HEADER) // RECORD  # -1: the header
            assert found == [n for n in range(3) if n != hit], offset
            assert damaged == 1, offset
            (path,) = segments(tmp_path)


def test_a_tear_at_any_byte_costs_what_is_behind_it(tmp_path: Path) -> None:
    path, data = one_segment(tmp_path, 3)
    for size in range(len(data)):
        path.unlink(missing_ok=True)
        path.write_bytes(data[:size])
        whole = max(0, size - HEADER) // RECORD
        at_an_end = size >= HEADER and (size - HEADER) % RECORD == 0
        assert reopened(tmp_path, range(3)) == (list(range(whole)), 0 if at_an_end else 1), size
        remaining = segments(tmp_path)
        path = remaining[0] if remaining else path


@pytest.mark.parametrize("inserted", [b"\x00", b"\xf1ref", b"\xf1ref" + b"\xff" * 40, bytes(range(256)) * 2])
def test_what_lies_between_records_is_passed_over(tmp_path: Path, inserted: bytes) -> None:
    path, data = one_segment(tmp_path, 4)
    cut = HEADER + 2 * RECORD
    path.write_bytes(data[:cut] + inserted + data[cut:])
    assert reopened(tmp_path, range(4)) == ([0, 1, 2, 3], 1)


def test_damage_is_mended_so_that_it_is_told_of_once(tmp_path: Path) -> None:
    path, data = one_segment(tmp_path, 3)
    path.write_bytes(data[:-5])
    assert reopened(tmp_path, range(3)) == ([0, 1], 1)
    assert reopened(tmp_path, range(3)) == ([0, 1], 0)
    (mended,) = segments(tmp_path)
    assert mended.read_bytes() == data[: HEADER + 2 * RECORD]


@pytest.mark.parametrize("content", [b"", b"kto", b"not ours at all " * 40, b"\xf1ref" * 100])
def test_a_strange_file_is_left_out_and_goes(tmp_path: Path, content: bytes) -> None:
    fill(tmp_path, range(3))
    stranger = tmp_path / "reference" / "a" / "stranger.refs"
    stranger.write_bytes(content)
    assert reopened(tmp_path, range(3)) == ([0, 1, 2], 1)
    assert not stranger.exists()


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    folder = tmp_path / "reference" / "a"
    (folder / "folder.refs").mkdir()
    os.mkfifo(folder / "pipe.refs")
    (folder / "link.refs").symlink_to(folder / "nowhere")
    assert reopened(tmp_path, range(3)) == ([0, 1, 2], 3)


def test_a_segment_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path, data = one_segment(tmp_path, 3)
    start = b"kto-refs" + struct.pack("<I", 2)
    newer = start + struct.pack("<I", zlib.crc32(start)) + data[16:]
    path.write_bytes(newer)
    assert reopened(tmp_path, range(3)) == ([], 1)
    fill(tmp_path, range(1))
    assert path.read_bytes() == newer


def test_a_segment_of_another_namespace_is_not_believed(tmp_path: Path) -> None:
    fill(tmp_path, range(3), "b")
    fill(tmp_path, range(3, 5), "a")
    (theirs,) = segments(tmp_path, "b")
    theirs.rename(tmp_path / "reference" / "a" / theirs.name)
    assert reopened(tmp_path, range(5)) == ([3, 4], 1)


def test_a_record_that_a_live_run_is_writing_is_waited_for(tmp_path: Path) -> None:
    _, data = one_segment(tmp_path / "other", 2)
    with (
        closing(ReferenceCache.open(tmp_path, "a")) as writer,
        closing(ReferenceCache.open(tmp_path, "a")) as reader,
    ):
        writer.put(key(5), values(5))
        writer.flush()
        (path,) = segments(tmp_path)
        records = data[HEADER:]
        for begin, end in ((0, 10), (10, RECORD), (RECORD, RECORD + 50), (RECORD + 50, 2 * RECORD)):
            with path.open("ab") as file:
                file.write(records[begin:end])
            reader.refresh()
            assert known(reader, range(9)) == [*range(end // RECORD), 5]
            assert reader.damaged == 0
            assert path.exists()


def test_a_live_run_s_segment_is_never_touched(tmp_path: Path) -> None:
    with closing(ReferenceCache.open(tmp_path, "a")) as writer:
        writer.put(key(1), values(1))
        writer.flush()
        (path,) = segments(tmp_path)
        path.write_bytes(b"\xff" * path.stat().st_size)
        assert reopened(tmp_path, range(3)) == ([], 0)
        assert path.read_bytes() == b"\xff" * (HEADER + RECORD)
    assert reopened(tmp_path, range(3)) == ([], 1)
    assert not path.exists()
