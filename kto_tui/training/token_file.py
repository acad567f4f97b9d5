"""Tokenized rows as a file: written row by row, and mapped when they are read, so that they take no memory.

A file holds, little-endian: a mark with the version, the key, how many rows and tokens there are; all ids;
the arrays of the rows; and a digest of everything before it, the first part last.
"""

import hashlib
import os
import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kto_tui.training.tokens import TokenizedRows

KEY_BYTES = 20

_MARK = b"kto-tui tokens 2"
_HEADER = struct.Struct(f"<{len(_MARK)}s{KEY_BYTES}sQQ")
_DIGEST_BYTES = 32
_FLUSHED_TOKENS = 1 << 18
_CHUNK_BYTES = 1 << 20

TokenizedRow = tuple[Sequence[int], Sequence[int], bool, bool]


@dataclass(frozen=True)
class Tokenized:
    """Rows as token ids. shifted: (rows,) whether a prompt's own ids changed once its answer followed."""

    rows: TokenizedRows
    shifted: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Iterable[TokenizedRow]) -> "Tokenized":
        """In memory, from (prompt ids, completion ids, desirable, shifted) of each row."""
        shifted = array("b")

        def each() -> Iterable[tuple[Sequence[int], Sequence[int], bool]]:
            for prompt, completion, desirable, moved in rows:
                shifted.append(moved)
                yield prompt, completion, desirable

        tokens = TokenizedRows.of(each())
        return cls(tokens, np.asarray(shifted, dtype=np.bool_))


def write_tokens(file: BinaryIO, key: str, rows: Iterable[TokenizedRow]) -> None:
    """Write all of a file, from its beginning. Raises OSError, and whatever `rows` raises."""
    writer = _Writer(file)
    for row in rows:
        writer.add(row)
    writer.finish(bytes.fromhex(key))


class _Writer:
    """Ids go to the file as they come; of each row ten bytes are kept for its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._waiting = array("i")
        self._tokens = 0
        self._sizes, self._prompts = array("i"), array("i")
        self._labels, self._shifted = array("b"), array("b")
        file.write(bytes(_HEADER.size))

    def add(self, row: TokenizedRow) -> None:
        prompt, completion, desirable, shifted = row
        self._waiting.extend(prompt)
        self._waiting.extend(completion)
        self._sizes.append(len(prompt) + len(completion))
        self._prompts.append(len(prompt))
        self._labels.append(desirable)
        self._shifted.append(shifted)
        if len(self._waiting) >= _FLUSHED_TOKENS:
            self._flush()

    def finish(self, key: bytes) -> None:
        self._flush()
        for values in (self._sizes, self._prompts, self._labels, self._shifted):
            self._put(np.asarray(values, dtype="<i4" if values.typecode == "i" else "<i1"))
        header = _HEADER.pack(_MARK, key, len(self._sizes), self._tokens)
        self._digest.update(header)
        self._file.write(self._digest.digest())
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()

    def _flush(self) -> None:
        self._put(np.asarray(self._waiting, dtype="<i4"))
        self._tokens += len(self._waiting)
        self._waiting = array("i")

    def _put(self, values: NDArray[Any]) -> None:
        self._digest.update(values.data)
        self._file.write(values.data)


def read_tokens(file: BinaryIO, key: str) -> Tokenized | None:
    """What a file holds; None if it is damaged, of another version, or another key's. Raises OSError.

    The ids stay in the file, which may be unlinked meanwhile but must not be changed.
    """
    file.seek(0)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    mark, held, rows, tokens = _HEADER.unpack(header)
    kinds = (("<i4", rows), ("<i4", rows), ("?", rows), ("?", rows))
    tail = sum(np.dtype(kind).itemsize * count for kind, count in kinds)
    size = _HEADER.size + 4 * tokens + tail + _DIGEST_BYTES
    if (mark, held) != (_MARK, bytes.fromhex(key)) or os.fstat(file.fileno()).st_size != size:
        return None
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for _ in range(0, 4 * tokens, _CHUNK_BYTES):
        digest.update(file.read(min(_CHUNK_BYTES, _HEADER.size + 4 * tokens - file.tell())))
    content = file.read(tail)
    digest.update(content)
    digest.update(header)
    if file.read() != digest.digest():
        return None
    return Tokenized(*_arrays(file, tokens, content, kinds))


def _arrays(
    file: BinaryIO, tokens: int, content: bytes, kinds: Sequence[tuple[str, int]]
) -> tuple[TokenizedRows, NDArray[np.bool_]]:
    found, at = [], 0
    for kind, count in kinds:
        found.append(np.frombuffer(content, dtype=kind, count=count, offset=at))
        at += found[-1].nbytes
    sizes, prompts, desirable, shifted = found
    return TokenizedRows.in_order(_mapped(file, tokens), sizes, prompts, desirable), shifted


def _mapped(file: BinaryIO, tokens: int) -> NDArray[np.int32]:
    if tokens == 0:  # Nothing cannot be mapped.
        return np.empty(0, dtype=np.int32)
    mapped = np.memmap(file, dtype="<i4", mode="r", offset=_HEADER.size, shape=(tokens,))
    return mapped.view(np.ndarray)
