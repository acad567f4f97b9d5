"""Reference log-probabilities by block: in memory for this run, on disk for the runs after it."""

import os
import re
import tempfile
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kto_tui.core.errors import one_line, printable
from kto_tui.training.reference.format import HEADER_BYTES, MAX_VALUES, encode, seal_of
from kto_tui.training.reference.keys import KEY_BYTES
from kto_tui.training.reference.namespaces import hold, make_room
from kto_tui.training.reference.segments import SegmentWriter
from kto_tui.training.reference.shelf import Shelf

DEFAULT_LIMIT_BYTES = 1 << 30
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BATCH = 4096  # Records written at once, so that a full disk is found out at little cost.
_MEBIBYTE = 1 << 20


def default_root() -> Path:
    """Where caches of this user's belong: $XDG_CACHE_HOME/kto-tui, or ~/.cache/kto-tui."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # The XDG specification has relative ones ignored.
        base = os.path.expanduser("~/.cache")
    if os.path.isabs(base):
        return Path(base) / "kto-tui"
    return Path(tempfile.gettempdir()) / f"kto-tui-{os.getuid()}"


class ReferenceCache:
    """Reference log-probabilities by block, kept in memory and in segment files of one namespace.

    The namespace stands for all that the values depend on beside their blocks; `path` is its folder. Runs
    may share it: each writes a segment of its own and reads those of the others. What cannot be read back
    whole is left out, counted in `damaged` and computed again. No method raises OSError: where the disk
    cannot be used all goes on in memory, and `problem` says why in one line. For one thread.
    """

    def __init__(self, root: Path, namespace: str, limit_bytes: int) -> None:
        if not _NAMESPACE.fullmatch(namespace):
            raise ValueError(
                f"{namespace!r} cannot name a folder; expected letters, digits, '-', '_' and '.'"
            )
        self.limit_bytes = limit_bytes
        self.path = root / "reference" / namespace
        self.problem: str | None = None
        self._root = root
        self._seal = seal_of(namespace)
        self._values: dict[bytes, bytes] = {}
        self._pending: deque[bytes] = deque()
        self._shelf = Shelf(self.path, self._seal)
        self._writer: SegmentWriter | None = None
        self._held: int | None = None
        self._bytes_on_disk = 0
        self._full = self._closed = False

    @classmethod
    def open(cls, root: Path, namespace: str, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> "ReferenceCache":
        """Read what is known, mend and merge what earlier runs left, and keep all namespaces to the limit.

        `namespace`: letters, digits, "-", "_" and ".". `limit_bytes`: of all namespaces below `root`; those
        that have not been used for longest are deleted beyond it, unless a run has them open.
        """
        cache = cls(root, namespace, limit_bytes)
        cache._use_folder()
        cache._shelf.read_into(cache._values)
        cache._shelf.tidy()
        cache._make_room()
        return cache

    @property
    def entries(self) -> int:
        """How many blocks are known."""
        return len(self._values)

    @property
    def damaged(self) -> int:
        """How many segments, and stretches within segments, were found damaged and left out."""
        return self._shelf.damaged

    @property
    def bytes_on_disk(self) -> int:
        """Of all namespaces below the root, as counted at open or refresh, and what this run has added."""
        return self._bytes_on_disk

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        """A copy of the (values,) of a block, or None where they are not known."""
        values = self._values.get(key)
        return None if values is None else np.frombuffer(values, dtype="<f4").astype(np.float32)

    def put(self, key: bytes, values: NDArray[np.floating[Any]]) -> None:
        """Keep the (values,) of a block: known at once, on disk after the next flush.

        A block that is known keeps its values. Values that are not all finite are not kept, so that what has
        gone wrong once is computed again.
        """
        if len(key) != KEY_BYTES or values.ndim != 1 or len(values) > MAX_VALUES:
            raise ValueError(
                f"shape {values.shape}, key of {len(key)} bytes; expected (n,), {KEY_BYTES} bytes"
            )
        kept = values.astype("<f4")
        if key not in self._values and np.isfinite(kept).all():
            self._values[key] = kept.tobytes()
            self._pending.append(key)

    def flush(self) -> None:
        """Append what is new to this process's segment. What cannot be written now is tried at the next."""
        if self._closed or not self._pending:
            return
        try:
            while self._pending and not self._full:
                self._write_batch()
        except OSError as error:
            self._report(error)
        else:
            full = f"it has reached its {self.limit_bytes / _MEBIBYTE:,.0f} MiB"
            self._report(full if self._full else None)

    def refresh(self) -> None:
        """Read what other runs have added meanwhile, and count anew what is on disk. For once an epoch."""
        if not self._closed:
            self._use_folder()
            self._shelf.read_into(self._values, own=self._writer.path if self._writer else None)
            self._make_room()
            self._full = False

    def close(self) -> None:
        """Write what is new and let go of the disk. What is known stays known."""
        self.flush()
        self._closed = True
        self._close_writer()
        self._let_go()

    def _use_folder(self) -> None:
        try:
            self._hold()
        except OSError as error:
            self._report(error)

    def _hold(self) -> None:
        """Make the namespace's folder, and keep others from deleting it. Raises OSError."""
        held = hold(self.path)
        self._let_go()
        self._held = held

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _make_room(self, extra: int = 0) -> None:
        """Have room for this many bytes more, if deleting what nobody uses gives it."""
        self._bytes_on_disk = make_room(self.path.parent, self.path, self.limit_bytes - extra)

    def _write_batch(self) -> None:
        """Write the oldest of what is pending, or find that there is no room for it. Raises OSError."""
        keys = list(islice(self._pending, _BATCH))
        batch = b"".join(encode(key, self._values[key], self._seal) for key in keys)
        extra = HEADER_BYTES + len(batch)
        if self._bytes_on_disk + extra > self.limit_bytes:
            self._make_room(extra)
        self._full = self._bytes_on_disk + extra > self.limit_bytes
        if not self._full:
            self._own_segment().append(batch)
            self._bytes_on_disk += len(batch)
            for _ in keys:
                self._pending.popleft()

    def _own_segment(self) -> SegmentWriter:
        """The segment of this process, begun with its first record. Raises OSError."""
        if self._writer is not None and self._writer.finished:
            self._close_writer()
        if self._writer is None:
            self._hold()
            self._writer = SegmentWriter.publish_in(self.path, self._seal)
            self._bytes_on_disk += self._writer.size
        return self._writer

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _report(self, reason: OSError | str | None) -> None:
        if isinstance(reason, OSError):
            reason = reason.strerror or one_line(reason)
        told = f"--reference-cache {self._root}: {reason}; what is new there is kept in memory only"
        self.problem = printable(told) if reason else None
