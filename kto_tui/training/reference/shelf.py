"""The segments of a namespace: read as they grow, mended and merged when nobody owns them any more."""

import os
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from kto_tui.training.reference.format import HEADER_BYTES, encode, header_kind, scan
from kto_tui.training.reference.segments import (
    SUFFIX,
    UNFINISHED,
    SegmentReader,
    SegmentWriter,
    delete_abandoned,
    reading,
    segment_files,
)

MERGE_FROM = 8  # So many small segments that nobody owns become one.
SMALL_BYTES = 16 << 20
_PASSES = 3
_LEFT_OUT = sys.maxsize
_ABANDONED_SECONDS = 3600.0

Records = dict[bytes, bytes]


class Shelf:
    """What has been read of each segment in a namespace's folder.

    `damaged`: how many segments, and stretches within segments, have been left out so far. Nothing here
    raises OSError: a segment that cannot be read is left out, one that cannot be mended stays as it is.
    """

    def __init__(self, folder: Path, seal: bytes) -> None:
        self._folder = folder
        self._seal = seal
        self._read_upto: dict[str, int] = {}
        self._to_mend: set[str] = set()
        self.damaged = 0

    def read_into(self, known: Records, own: Path | None = None) -> None:
        """Add what is new in segments other than `own`, oldest first. What is known already stays."""
        # A segment that vanishes while the list is gone through has been merged into one that is not on it.
        for _ in range(_PASSES):
            entries = [entry for entry in segment_files(self._folder) if Path(entry.path) != own]
            if all(self._read(entry, known) for entry in entries):
                return

    def _read(self, entry: os.DirEntry[str], known: Records) -> bool:
        """What is new in one segment. Returns False if it is gone."""
        upto = self._read_upto.get(entry.name, 0)
        try:
            if upto and entry.stat(follow_symlinks=False).st_size <= upto:
                return True
            with reading(Path(entry.path)) as segment:
                self._take(segment, upto, known)
        except FileNotFoundError:
            return False
        except OSError:
            self._leave_out(entry.name)
        return True

    def _take(self, segment: SegmentReader, upto: int, known: Records) -> None:
        name, data, start = segment.path.name, segment.read(upto), 0
        if upto == 0:
            kind = header_kind(data, self._seal)
            if kind == "other version":
                return self._leave_out(name)
            start = HEADER_BYTES if kind == "ours" else 0
        found = scan(data, start, self._seal)
        for key, values in found.records:
            known.setdefault(key, values)
        # A live owner may be in the middle of its last record; the next look begins there.
        torn = segment.abandoned and (found.end < len(data) or not data)
        if found.gaps or torn:
            self.damaged += found.gaps + torn
            self._to_mend.add(name)
        self._read_upto[name] = upto + (len(data) if torn else found.end)
        return None

    def _leave_out(self, name: str) -> None:
        self.damaged += 1
        self._read_upto[name] = _LEFT_OUT

    def tidy(self) -> None:
        """Rewrite damaged segments, and small ones where there are many, if nobody owns them any more."""
        small = {name for name, upto in self._read_upto.items() if upto <= SMALL_BYTES}
        candidates = sorted(self._to_mend | (small if len(small) >= MERGE_FROM else set()))
        with ExitStack() as held:
            abandoned = []
            for name in candidates:
                with suppress(OSError):
                    segment = held.enter_context(reading(self._folder / name))
                    abandoned += [segment] if segment.abandoned else []
            if len(abandoned) >= MERGE_FROM or any(s.path.name in self._to_mend for s in abandoned):
                # The old segments are still there, so that a full disk costs nothing here.
                with suppress(OSError):
                    self._replace(abandoned)
        self._clear_unfinished()

    def _replace(self, segments: list[SegmentReader]) -> None:
        """Put one segment in the place of these, which are deleted once it is on the disk."""
        records: Records = {}
        for segment in segments:
            for key, values in scan(segment.read(), 0, self._seal).records:
                records.setdefault(key, values)
        if records:
            self._write(records, like=segments[0].path.name)
        for segment in segments:
            segment.path.unlink()
            self._to_mend.discard(segment.path.name)
            self._read_upto.pop(segment.path.name, None)

    def _write(self, records: Records, like: str) -> None:
        writer = SegmentWriter(self._folder, self._seal, like)
        try:
            writer.append(b"".join(encode(*record, self._seal) for record in records.items()))
            writer.publish(synced=True)
            self._read_upto[writer.path.name] = writer.size
        finally:
            writer.close()

    def _clear_unfinished(self) -> None:
        """Segments that were begun and never published. A younger one may be about to be locked."""
        for path in self._folder.glob(f"*{SUFFIX}{UNFINISHED}"):
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                    delete_abandoned(path)
