"""Append-only lines on disk: the journal of events, and the following of any such file."""

import errno
import os
import stat
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from kto_tui.core.events import DROPPABLE, AnyEvent, Event, decode_event, encode_event
from kto_tui.run.last_seq import LONGEST_LINE, last_seq

EventT = TypeVar("EventT", bound=Event)

_BLOCK = 2 * LONGEST_LINE
_BLOCKS_A_CALL = 512


class LineFollower:
    """Whole lines added to a file since the last look. A torn last line waits until it is whole.

    Lines of more than `LONGEST_LINE` bytes are passed over. What is no plain file counts as not there:
    a pipe would make its reader wait. `from_end`: pass over what the file holds now.
    """

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._file: int | None = None
        # Where the first line begins that was not given out. It is read again until it is whole, so that
        # nothing is kept of a line that its writer takes back.
        self._offset = 0
        self._skipping = False
        if from_end and self._open():
            assert self._file is not None
            self._offset = os.fstat(self._file).st_size

    @property
    def descriptor(self) -> int | None:
        """The file that is read, once it is there."""
        return self._file

    def read_new(self) -> list[bytes]:
        """Lines that came since the last call, without their newlines; at most 2 MiB of them.

        A file that is not there yet has none. The descriptor stays open, so what was written
        before the file is deleted can still be read.
        """
        if self._file is None and not self._open():
            return []
        assert self._file is not None
        for _ in range(_BLOCKS_A_CALL):  # A line without an end keeps nobody for ever.
            data = os.pread(self._file, _BLOCK, self._offset)
            if lines := self._whole_lines(data):
                return lines
            if len(data) < _BLOCK:
                break
        return []

    def _whole_lines(self, data: bytes) -> list[bytes]:
        """The lines that end in what was read at the offset, which moves behind them."""
        end = data.rfind(b"\n") + 1
        if end:
            lines = data[: end - 1].split(b"\n")[self._skipping :]
            self._skipping = False
            self._offset += end
            return [line for line in lines if len(line) <= LONGEST_LINE]
        self._skipping = self._skipping or len(data) > LONGEST_LINE
        if self._skipping:
            self._offset += len(data)
        return []

    def _open(self) -> bool:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return False
        self._file = descriptor
        return True

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class JournalReader(LineFollower):
    """Events added to a journal since the last look; unknown types are skipped."""

    def read_events(self) -> list[AnyEvent]:
        """The next events, in order. An empty list means that there are none for now."""
        events: list[AnyEvent] = []
        while lines := self.read_new():
            events += [event for line in lines if (event := decode_event(line)) is not None]
            if len(events) >= 10_000:
                break
        return events


def read_journal(path: Path) -> list[AnyEvent]:
    """Every event of a journal as it is now."""
    events: list[AnyEvent] = []
    with JournalReader(path) as reader:
        while batch := reader.read_events():
            events += batch
    return events


class JournalWriter:
    """Numbers events and appends them. A torn last line of a crashed writer is closed first.

    A disk that takes nothing costs no event that matters: their lines wait in memory, in their order,
    until it does; `problem` says why they wait. `clock` stamps events with the machine's monotonic time.
    Raises OSError if the file cannot be opened.
    """

    def __init__(self, path: Path, clock: Callable[[], float] | None = None) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file: int | None = os.open(path, flags, 0o666)
        self._clock = clock
        self._seq = last_seq(self._file)
        self._waiting: deque[bytes] = deque()
        self._unsynced = False
        self._good_end: int | None = None
        size = os.fstat(self._file).st_size
        self._in_line = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"
        self.problem: str | None = None
        self.retry()

    @property
    def waiting(self) -> int:
        """How many events that matter are not written yet."""
        return len(self._waiting)

    def append(self, event: EventT) -> EventT:
        """Write the event with its number, and return it so.

        What matters is on the disk after, or waits for room there. Readings that the next one replaces are
        dropped meanwhile.
        """
        self._seq += 1
        uptime = event.uptime if self._clock is None else self._clock()
        event = msgspec.structs.replace(event, seq=self._seq, uptime=uptime)
        line = encode_event(event)
        if not isinstance(event, DROPPABLE):
            self._waiting.append(line)
            self.retry()
        elif self.retry():
            self._attempt(lambda: self._write(line))
        return event

    def retry(self) -> bool:
        """Write what waits. True once nothing does."""
        return self._attempt(self._write_waiting)

    def _attempt(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            if error.errno == errno.EBADF:  # Not the disk's fault, but ours.
                raise
            self.problem = error.strerror or str(error)
            return False
        self.problem = None
        return True

    def _write_waiting(self) -> None:
        assert self._file is not None
        self._mend()
        while self._waiting:
            self._write(self._waiting[0])
            self._waiting.popleft()
            self._unsynced = True
        if self._unsynced:
            os.fsync(self._file)
            self._unsynced = False

    def _write(self, line: bytes) -> None:
        """Append a whole line, or raise OSError and leave nothing of it."""
        assert self._file is not None
        end, rest = os.fstat(self._file).st_size, memoryview(line)
        try:
            while rest:
                written = os.write(self._file, rest)
                if not written:
                    raise OSError(errno.EIO, "nothing more can be written")
                self._good_end, rest = end, rest[written:]
        except OSError:
            self._mend()
            raise
        self._good_end = None

    def _mend(self) -> None:
        """Cut off what was begun of a line; where that cannot be, end the line: readers pass it over."""
        assert self._file is not None
        if self._good_end is not None:
            try:
                os.ftruncate(self._file, self._good_end)
            except OSError:
                self._in_line = True
            self._good_end = None
        if self._in_line:
            os.write(self._file, b"\n")
            self._in_line = False

    def close(self) -> None:
        """Try once more to write what waits, and let the file go."""
        if self._file is None:
            return
        self.retry()
        descriptor, self._file = self._file, None
        self._attempt(lambda: os.close(descriptor))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
