"""The journal on disk: what a crash, a newer version or a slow writer leaves in it."""

import errno
import os
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kto_tui.core.events import AnyEvent, Progress, StepLogged, decode_event, encode_event
from kto_tui.run.journal import JournalReader, JournalWriter, LineFollower, read_journal
from tests.fakes.events import EVENTS
from tests.faults.disk import CannotMount, fill, mounted


def step(number: int) -> StepLogged:
    return StepLogged(step=number, total_steps=9, epoch=0.1, metrics={})


def test_numbers_go_on_after_a_restart_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = JournalWriter(path)
    assert [writer.append(step(1)).seq, writer.append(step(2)).seq] == [1, 2]
    writer.close()
    with path.open("ab") as file:
        file.write(b'{"type":"step_log')
    writer = JournalWriter(path)
    assert writer.append(step(3)).seq == 3
    writer.close()
    assert [(event.seq, event.step) for event in read_journal(path) if isinstance(event, StepLogged)] == [
        (1, 1), (2, 2), (3, 3),
    ]  # fmt: skip


def test_a_reader_waits_for_the_rest_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = encode_event(step(1))
    with JournalReader(path) as reader:
        assert reader.read_events() == []
        path.write_bytes(line[:20])
        assert reader.read_events() == []
        with path.open("ab") as file:
            file.write(line[20:] + b'{"type":"from_the_future"}\n' + encode_event(step(2)))
        assert [event.step for event in reader.read_events() if isinstance(event, StepLogged)] == [1, 2]
        assert reader.read_events() == []


def test_a_reader_sees_what_was_written_before_the_file_was_deleted(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = JournalWriter(path)
    with JournalReader(path) as reader:
        reader.read_events()
        writer.append(step(1))
        path.unlink()
        assert len(reader.read_events()) == 1
    writer.close()


def test_many_events_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    progress = (Progress(seq=i, stage="training", done=i, total=30_000) for i in range(1, 30_001))
    path.write_bytes(b"".join(map(encode_event, progress)))
    assert [event.seq for event in read_journal(path)] == list(range(1, 30_001))


def test_lines_before_the_end_are_passed_over_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    path.write_bytes(b"old\n")
    with LineFollower(path, from_end=True) as follower:
        assert follower.read_new() == []
        path.write_bytes(b"old\nnew\n")
        assert follower.read_new() == [b"new"]


def problem_of(writer: JournalWriter) -> str | None:
    return writer.problem


def steps_of(path: Path) -> list[int]:
    return [event.step for event in read_journal(path) if isinstance(event, StepLogged)]


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b'{"type":"step_log', id="torn"),
        pytest.param(b"\x00" * 3_000_000, id="zeros of a machine that went down"),
        pytest.param(b'{"type":"from_the_future","seq":41,"more":{"deep":[[[1]]]}}\n', id="a newer version"),
        pytest.param(b'{"type":"step_logged","seq":9007199254740992}\n', id="a forged number"),
        pytest.param(b"[" * 200_000 + b"\n", id="deep nesting"),
        pytest.param(b'{"seq":"x"}\nhello\n\n\n{"seq":5}\n', id="foreign lines"),
    ],
)
def test_numbers_go_on_over_whatever_stands_at_the_end(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "events.jsonl"
    lines = (encode_event(msgspec.structs.replace(step(1), seq=number)) for number in range(1, 41))
    path.write_bytes(b"".join(lines) + tail)
    with JournalWriter(path) as writer:
        number = writer.append(step(2)).seq
    assert number == (42 if b'"seq":41' in tail else 41)
    assert steps_of(path)[-1] == 2
    assert len(steps_of(path)) == 41


def test_a_journal_without_any_number_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"hello\n" * 70_000)
    with JournalWriter(path) as writer:
        assert writer.append(step(1)).seq == 70_001


def test_a_million_lines_take_no_memory_to_go_on_from(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        for first in range(1, 1_000_001, 10_000):
            file.writelines(
                b'{"type":"progress","seq":%d}\n' % number for number in range(first, first + 10_000)
            )
    tracemalloc.start()
    with JournalWriter(path) as writer:
        assert writer.append(step(1)).seq == 1_000_001
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000


def test_events_are_stamped_with_a_clock_that_nobody_sets(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with JournalWriter(path, clock=lambda: 12.5) as writer:
        assert writer.append(step(1)).uptime == 12.5
    assert [event.uptime for event in read_journal(path)] == [12.5]


# Disks that take nothing


def test_a_full_disk_costs_no_event_that_matters(tmp_path: Path) -> None:
    try:
        with mounted(tmp_path / "small", "size=64k") as folder:
            path = folder / "events.jsonl"
            with JournalReader(path) as reader, JournalWriter(path) as writer:
                writer.append(step(1))
                ballast = fill(folder, 0)
                for number in range(2, 60):
                    writer.append(step(number))
                    writer.append(Progress(stage="training", done=number, total=60, detail="x" * 500))
                assert problem_of(writer) == "No space left on device"
                assert writer.waiting > 0
                seen = reader.read_events()
                assert not writer.retry()
                ballast.unlink()
                assert writer.retry()
                assert writer.waiting == 0
                assert problem_of(writer) is None
                writer.append(step(60))
                seen += reader.read_events()
            steps = list(range(1, 61))
            assert steps_of(path) == steps
            assert [event.step for event in seen if isinstance(event, StepLogged)] == steps
            assert all(decode_event(line) for line in path.read_bytes().splitlines())
    except CannotMount as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")


class Disk:
    """The system's calls on files, of which some fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self.errno = errno.ENOSPC
        self.refuses_to_cut = False
        self.refuses_to_sync = False
        self._write, self._cut, self._sync = os.write, os.ftruncate, os.fsync
        patch.setattr(os, "write", self.write)
        patch.setattr(os, "ftruncate", self.cut)
        patch.setattr(os, "fsync", self.sync)

    def write(self, file: int, data: Any) -> int:
        if self.room is None:
            return self._write(file, data)
        if not self.room:
            raise OSError(self.errno, os.strerror(self.errno))
        written = self._write(file, data[: self.room])
        self.room -= written
        return written

    def cut(self, file: int, size: int) -> None:
        if self.refuses_to_cut:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._cut(file, size)

    def sync(self, file: int) -> None:
        if self.refuses_to_sync:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._sync(file)


@pytest.mark.parametrize("refuses_to_cut", [False, True])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("room", [0, 1, 50])
def test_a_write_that_breaks_off_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, number: int, refuses_to_cut: bool
) -> None:
    path = tmp_path / "events.jsonl"
    disk = Disk(monkeypatch)
    with JournalReader(path) as reader, JournalWriter(path) as writer:
        writer.append(step(1))
        disk.room, disk.errno, disk.refuses_to_cut = room, number, refuses_to_cut
        writer.append(step(2))
        assert problem_of(writer) == os.strerror(number)
        assert path.read_bytes().endswith(b"\n") or refuses_to_cut
        assert [event.seq for event in reader.read_events()] == [1]
        writer.append(Progress(stage="training", done=2, total=9))
        writer.append(step(3))
        disk.room = None
        writer.append(Progress(stage="training", done=3, total=9))
        assert problem_of(writer) is None
        assert [event.seq for event in reader.read_events()] == [2, 4, 5]
    assert [event.seq for event in read_journal(path)] == [1, 2, 4, 5]
    if not refuses_to_cut:
        assert all(decode_event(line) for line in path.read_bytes().splitlines())


def test_what_waits_is_written_when_the_journal_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    disk = Disk(monkeypatch)
    writer = JournalWriter(path)
    disk.room = 0
    writer.append(step(1))
    disk.room = None
    writer.close()
    writer.close()
    assert steps_of(path) == [1]


def test_a_torn_line_of_the_past_is_closed_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"type":"step_log')
    disk = Disk(monkeypatch)
    disk.room = 0
    with JournalWriter(path) as writer:
        assert problem_of(writer) == "No space left on device"
        writer.append(step(1))
        disk.room = None
    assert steps_of(path) == [1]


def test_a_disk_that_does_not_sync_is_told_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    with JournalWriter(tmp_path / "events.jsonl") as writer:
        disk.refuses_to_sync = True
        writer.append(step(1))
        assert problem_of(writer) == os.strerror(errno.EIO)
        disk.refuses_to_sync = False
        assert writer.retry()
        assert problem_of(writer) is None


# Readers of what nobody should have written


def test_a_line_too_long_is_passed_over_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode_event(step(1)) + b"x" * 9_000_000 + b"\n" + encode_event(step(2)))
    assert steps_of(path) == [1, 2]


def test_a_line_without_an_end_costs_neither_memory_nor_time(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode_event(step(1)))
    with JournalReader(path) as reader, path.open("ab", buffering=0) as file:
        assert len(reader.read_events()) == 1
        tracemalloc.start()
        for _ in range(300):
            file.write(b"x" * 100_000)
            assert reader.read_events() == []
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 20_000_000
        file.write(b"\n" + encode_event(step(2)))
        assert [event.step for event in reader.read_events() if isinstance(event, StepLogged)] == [2]


def test_a_line_that_its_writer_takes_back_is_not_mixed_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode_event(step(1))[:40])
    with JournalReader(path) as reader:
        assert reader.read_events() == []
        path.write_bytes(encode_event(step(2)))
        assert [event.step for event in reader.read_events() if isinstance(event, StepLogged)] == [2]


def test_a_pipe_in_place_of_a_journal_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    os.mkfifo(path)
    assert read_journal(path) == []


# Whatever is written, and wherever it breaks off


@given(events=st.lists(EVENTS, max_size=8), cut=st.floats(0, 1), garbage=st.binary(max_size=60))
@settings(max_examples=150, deadline=None)
def test_readers_give_what_was_written_before_the_cut_and_the_writer_goes_on(
    events: list[AnyEvent], cut: float, garbage: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        with JournalWriter(path) as writer:
            written = [writer.append(event) for event in events]
        assert read_journal(path) == written
        whole = path.read_bytes()
        kept = whole[: round(cut * len(whole))]
        path.write_bytes(kept + garbage)
        before = read_journal(path)
        assert before == written[: len(before)]
        assert len(before) >= kept.count(b"\n")
        with JournalWriter(path) as writer:
            added = writer.append(step(7))
        assert read_journal(path)[-1] == added
        assert added.seq > max((event.seq for event in before), default=0)
