"""Append-only lines on disk: the journal of events, and the following of any such file."""

import os
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from kto_tui.core.events import DROPPABLE, AnyEvent, Event, decode_event, encode_event

EventT = TypeVar("EventT", bound=Event)


class LineFollower:
    """Whole lines added to a file since the last look. A torn last line waits until it is whole.

    `from_end`: pass over what the file holds now.
    """

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._file: int | None = None
        self._torn = b""
        if from_end and self._open():
            assert self._file is not None
            os.lseek(self._file, 0, os.SEEK_END)

    def read_new(self, limit: int = 1 << 24) -> list[bytes]:
        """Lines that came since the last call, without their newlines; at most `limit` bytes of them.

        A file that is not there yet has none. The descriptor stays open, so what was written
        before the file is deleted can still be read.
        """
        if self._file is None and not self._open():
            return []
        assert self._file is not None
        data = self._torn + os.read(self._file, limit)
        *lines, self._torn = data.split(b"\n")
        return lines

    def _open(self) -> bool:
        try:
            self._file = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return False
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
    """Numbers events and appends them. A torn last line of a crashed writer is closed first."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        self._seq = max((event.seq for event in read_journal(path)), default=0)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def append(self, event: EventT) -> EventT:
        """Write the event with its number, and return it so. What matters is on the disk after."""
        self._seq += 1
        event = msgspec.structs.replace(event, seq=self._seq)
        os.write(self._file, encode_event(event))
        if not isinstance(event, DROPPABLE):
            os.fsync(self._file)
        return event

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
