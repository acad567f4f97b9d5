"""Tokenized rows on disk, named by all that they depend on, so that a second run need not tokenize.

A file holds, little-endian: a mark with the version, the key, how many rows and tokens there are, the arrays,
and a digest of everything before it.
"""

import hashlib
import json
import logging
import os
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import tokenizers
import transformers
import trl
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from kto_tui.core.errors import one_line, printable
from kto_tui.data import Row
from kto_tui.training.reference.namespaces import make_private
from kto_tui.training.tokens import TokenizedRows

logger = logging.getLogger(__name__)

DEFAULT_LIMIT_BYTES = 2 << 30
SUFFIX = ".tokens"
UNFINISHED = ".unfinished"

_MARK = b"kto-tui tokens 1"
_KEY_BYTES = 20
_HEADER = struct.Struct(f"<{len(_MARK)}s{_KEY_BYTES}sQQ")
_DIGEST_BYTES = 32
_ABANDONED_SECONDS = 3600.0
_GIBIBYTE = 1 << 30


@dataclass(frozen=True)
class Tokenized:
    """Rows as token ids. shifted: (rows,) whether a prompt's own ids changed once its answer followed."""

    rows: TokenizedRows
    shifted: NDArray[np.bool_]


def tokens_key(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The name of what these rows are tokenized to, in hex: the same for the same ids.

    None for a tokenizer that cannot be written down as a whole (one that is not of the tokenizers library).
    """
    identity = _identity(tokenizer)
    if identity is None:
        return None
    digest = hashlib.blake2b(_MARK, digest_size=_KEY_BYTES)
    # A JSON text holds no line break, so that no other rows give the same bytes.
    digest.update(json.dumps(identity, sort_keys=True).encode() + b"\n")
    encoder = msgspec.json.Encoder()
    for row in rows:
        digest.update(encoder.encode((row.prompt, row.completion, row.label)) + b"\n")
    return digest.hexdigest()


def _identity(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any] | None:
    """All that decides which ids a text or a conversation becomes."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    state = json.loads(backend.to_str())
    # Both are left over from the call before, and every call sets them anew.
    state.pop("truncation", None)
    state.pop("padding", None)
    kind, template = type(tokenizer), tokenizer.chat_template
    return {
        "versions": [transformers.__version__, tokenizers.__version__, trl.__version__],
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "state": state,
        "template": template,
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "split_special_tokens": bool(getattr(tokenizer, "split_special_tokens", False)),
        # Such a template writes today's date into the prompt.
        "date": date.today().isoformat() if "strftime_now" in str(template) else None,
    }


class TokenCache:
    """Tokenized rows below `<root>/tokens`, one file for each key; the least recently used ones go.

    Several runs may share it: files are written beside and renamed. What is damaged or not ours counts as
    absent. No method raises OSError: `problem` says in one line what went wrong with the disk.
    """

    def __init__(self, root: Path, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.path = root / "tokens"
        self.limit_bytes = limit_bytes
        self.problem: str | None = None

    def get(self, key: str) -> Tokenized | None:
        """What is kept under the key, whole and unchanged, or None."""
        path = self._file(key)
        try:
            if not path.is_file():
                return None
            with path.open("rb") as file:
                found = _read(file, key)
        except OSError as error:
            self._report(error.strerror or one_line(error))
            return None
        if found is None:
            logger.warning("%s is damaged; its rows are tokenized anew", path)
        else:
            with suppress(OSError):
                os.utime(path)
        return found

    def put(self, key: str, tokenized: Tokenized) -> None:
        """Keep it under the key, in place of what may be there."""
        size = _HEADER.size + sum(part.nbytes for part in _parts(tokenized)) + _DIGEST_BYTES
        if size > self.limit_bytes:
            limit = self.limit_bytes / _GIBIBYTE
            return self._report(f"they take {size / _GIBIBYTE:.1f} GiB, above the limit of {limit:.1f} GiB")
        unfinished = self.path / f"{key}.{os.getpid()}-{os.urandom(4).hex()}{UNFINISHED}"
        try:
            make_private(self.path)
            self._make_room(size)
            try:
                with open(unfinished, "xb", opener=_private) as file:
                    _write(file, key, tokenized)
                unfinished.replace(self._file(key))
            finally:
                unfinished.unlink(missing_ok=True)
        except OSError as error:
            return self._report(error.strerror or one_line(error))
        self.problem = None
        return None

    def _file(self, key: str) -> Path:
        return self.path / f"{key}{SUFFIX}"

    def _make_room(self, size: int) -> None:
        """Delete what nobody finished, and files until `size` more bytes fit, least recently used first."""
        now = time.time()
        kept: list[tuple[float, int, Path]] = []
        for path in self.path.iterdir():
            with suppress(OSError):
                seen = path.lstat()
                if path.suffix == SUFFIX:
                    kept.append((seen.st_mtime, seen.st_size, path))
                elif path.suffix == UNFINISHED and seen.st_mtime < now - _ABANDONED_SECONDS:
                    path.unlink()
        total = size + sum(bytes_ for _, bytes_, _ in kept)
        for _, bytes_, path in sorted(kept):
            if total <= self.limit_bytes:
                break
            with suppress(OSError):
                path.unlink()
                total -= bytes_

    def _report(self, reason: str) -> None:
        self.problem = printable(f"{self.path}: tokenized rows cannot be kept there: {reason}")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _parts(tokenized: Tokenized) -> tuple[NDArray[Any], ...]:
    """The arrays in the order and with the types in which a file holds them."""
    rows = tokenized.rows
    return (
        np.ascontiguousarray(rows.ids, dtype="<i4"),
        np.ascontiguousarray(rows.starts, dtype="<i8"),
        np.ascontiguousarray(rows.prompt_lengths, dtype="<i4"),
        np.ascontiguousarray(rows.desirable, dtype="?"),
        np.ascontiguousarray(tokenized.shifted, dtype="?"),
    )


def _write(file: BinaryIO, key: str, tokenized: Tokenized) -> None:
    rows = tokenized.rows
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    header = _HEADER.pack(_MARK, bytes.fromhex(key), len(rows), len(rows.ids))
    for part in (memoryview(header), *(array.data for array in _parts(tokenized))):
        digest.update(part)
        file.write(part)
    file.write(digest.digest())


def _read(file: BinaryIO, key: str) -> Tokenized | None:
    """What a file holds; None if it is damaged, of another version, or another key's."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    mark, held, rows, tokens = _HEADER.unpack(header)
    wanted = (("<i4", tokens), ("<i8", rows + 1), ("<i4", rows), ("?", rows), ("?", rows))
    size = _HEADER.size + sum(np.dtype(kind).itemsize * count for kind, count in wanted) + _DIGEST_BYTES
    if (mark, held) != (_MARK, bytes.fromhex(key)) or os.fstat(file.fileno()).st_size != size:
        return None
    digest = hashlib.blake2b(header, digest_size=_DIGEST_BYTES)
    arrays = []
    for kind, count in wanted:
        arrays.append(np.fromfile(file, dtype=kind, count=count))
        digest.update(arrays[-1].data)
    if file.read() != digest.digest():
        return None
    return Tokenized(TokenizedRows(*arrays[:4]), arrays[4])
