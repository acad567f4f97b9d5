"""Rated rows that wait to be tokenized: their text on disk, and of each a few dozen bytes in memory."""

import tempfile
import threading
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from kto_tui.core.errors import UserError
from kto_tui.data import Row
from kto_tui.data.same import prompt_key
from kto_tui.data.survey.places import Places

_IN_MEMORY_BYTES = 16 << 20

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(tuple[Any, Any, bool, Any])


def encoded(row: Row) -> bytes:
    """What is trained on of a row, as a line of JSON without its end. Raises UserError that names the row."""
    try:
        return _encoder.encode((row.prompt, row.completion, row.label, row.tools))
    except UnicodeEncodeError:
        raise UserError(
            f"{row.where}: holds half of a surrogate pair (\\ud800 to \\udfff); remove it"
        ) from None


class _Text:
    """A nameless file that is gone with whoever used it last."""

    def __init__(self, folder: Path | None) -> None:
        directory = None if folder is None else str(folder)
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=directory)  # noqa: SIM115
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def append(self, line: bytes) -> None:
        self._file.write(line)

    def between(self, begin: int, end: int) -> bytes:
        with self._lock:
            self._file.seek(begin)
            return self._file.read(end - begin)


class RowSpool(Sequence[Row]):
    """Rows in the order in which they came, each read back from disk when it is asked for.

    labels: (rows,) bool. groups: (rows,) numbers from 0, equal for equal prompts (`data.same`), in the order
    in which these come first.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` takes the file, which has no name there; None: wherever temporary files go."""
        self._text = _Text(folder)
        self._begins = array("q", [0])
        self._labels = array("b")
        self._prompts = array("Q")
        self.places = Places()
        self._chosen: NDArray[np.int64] | None = None
        self.holds_text = False

    @classmethod
    def of(cls, rows: Iterable[Row], folder: Path | None = None) -> "RowSpool":
        """All of the rows; a spool is taken as it is. Raises OSError for a full disk, and UserError."""
        if isinstance(rows, RowSpool):
            return rows
        spool = cls(folder)
        for row in rows:
            spool.append(row)
        return spool

    def append(self, row: Row) -> None:
        """Add a row at the end, before any is read. Raises OSError, UserError."""
        line = encoded(row)
        self._text.append(line)
        self._begins.append(self._begins[-1] + len(line))
        self._labels.append(row.label)
        self._prompts.append(prompt_key(row))
        self.places.add(row.where)
        self.holds_text = self.holds_text or isinstance(row.prompt, str)

    def chosen(self, rows: NDArray[np.int64]) -> "RowSpool":
        """These rows alone, in this order: a view."""
        view = RowSpool.__new__(RowSpool)
        view.__dict__.update(self.__dict__)
        view._chosen = rows if self._chosen is None else self._chosen[rows]
        return view

    def __len__(self) -> int:
        return len(self._labels) if self._chosen is None else len(self._chosen)

    @overload
    def __getitem__(self, row: int) -> Row: ...
    @overload
    def __getitem__(self, row: slice) -> list[Row]: ...

    def __getitem__(self, row: int | slice) -> Row | list[Row]:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        prompt, completion, label, tools = _decoder.decode(self.line(row))
        return Row(prompt, completion, label, self.where(row), tools)

    def line(self, row: int) -> bytes:
        """The row as `encoded` made it."""
        number = self._number(row)
        return self._text.between(self._begins[number], self._begins[number + 1])

    def lines(self) -> Iterator[bytes]:
        """Each row as `encoded` made it."""
        return map(self.line, range(len(self)))

    def where(self, row: int) -> str:
        """Where a person finds the row."""
        return self.places.of(self._number(row))

    @property
    def numbers(self) -> NDArray[np.int64]:
        """(rows,) which of all rows that were appended these are."""
        return np.arange(len(self)) if self._chosen is None else self._chosen

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(rows,) bytes that each takes as `encoded`."""
        return self._of(np.diff(np.frombuffer(self._begins, dtype=np.int64)))

    @property
    def labels(self) -> NDArray[np.bool_]:
        return self._of(np.frombuffer(self._labels, dtype=np.int8)).astype(np.bool_)

    @property
    def groups(self) -> NDArray[np.int64]:
        hashes = self._of(np.frombuffer(self._prompts, dtype=np.uint64))
        _, first, numbers = np.unique(hashes, return_index=True, return_inverse=True)
        ranks = np.empty(len(first), dtype=np.int64)
        ranks[np.argsort(first)] = np.arange(len(first))
        return ranks[numbers]

    def _number(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return row if self._chosen is None else int(self._chosen[row])

    def _of(self, values: NDArray[Any]) -> NDArray[Any]:
        return values if self._chosen is None else values[self._chosen]
