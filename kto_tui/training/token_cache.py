"""Tokenized rows on disk, named by all that they depend on, so that a second run need not tokenize."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import tokenizers
import transformers
import trl
from transformers import PreTrainedTokenizerBase

from kto_tui.core.errors import one_line, printable
from kto_tui.training.reference.namespaces import make_private
from kto_tui.training.token_file import KEY_BYTES, Tokenized, TokenizedRow, read_tokens, write_tokens

logger = logging.getLogger(__name__)

DEFAULT_LIMIT_BYTES = 2 << 30
SUFFIX = ".tokens"
UNFINISHED = ".unfinished"

_ABANDONED_SECONDS = 3600.0
_GIBIBYTE = 1 << 30


def tokens_key(rows: Iterable[bytes], tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The name of what these encoded rows are tokenized to, in hex: the same for the same ids.

    None for a tokenizer that cannot be written down as a whole (one that is not of the tokenizers library).
    """
    identity = _identity(tokenizer)
    if identity is None:
        return None
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    # A JSON text holds no line break, so that no other rows give the same bytes.
    digest.update(json.dumps(identity, sort_keys=True).encode() + b"\n")
    for row in rows:
        digest.update(row + b"\n")
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
                found = read_tokens(file, key)
        except OSError as error:
            self._report(error.strerror or one_line(error))
            return None
        if found is None:
            logger.warning("%s is damaged; its rows are tokenized anew", path)
        else:
            with suppress(OSError):
                os.utime(path)
        return found

    def fill(self, key: str, rows: Iterable[TokenizedRow]) -> Tokenized | None:
        """Keep these rows under the key, in place of what may be there, and return them.

        None where the disk did not take them. What is too large to be kept lies there, without a name, for
        as long as it is used. Whatever `rows` raises comes through, and leaves nothing.
        """
        unfinished = self.path / f"{key}.{os.getpid()}-{os.urandom(4).hex()}{UNFINISHED}"
        try:
            make_private(self.path)
            self._clear_abandoned()
            try:
                with open(unfinished, "x+b", opener=_private) as file:
                    write_tokens(file, key, rows)
                    self._place(unfinished, key, file.seek(0, os.SEEK_END))
                    return read_tokens(file, key)
            finally:
                unfinished.unlink(missing_ok=True)
        except OSError as error:
            self._report(error.strerror or one_line(error))
            return None

    def _place(self, unfinished: Path, key: str, size: int) -> None:
        if size > self.limit_bytes:
            limit = self.limit_bytes / _GIBIBYTE
            return self._report(f"they take {size / _GIBIBYTE:.1f} GiB, above the limit of {limit:.1f} GiB")
        self._make_room(size)
        unfinished.replace(self._file(key))
        self.problem = None
        return None

    def _file(self, key: str) -> Path:
        return self.path / f"{key}{SUFFIX}"

    def _clear_abandoned(self) -> None:
        """Delete what nobody finished."""
        oldest = time.time() - _ABANDONED_SECONDS
        for path in self.path.glob(f"*{UNFINISHED}"):
            with suppress(OSError):
                if path.lstat().st_mtime < oldest:
                    path.unlink()

    def _make_room(self, size: int) -> None:
        """Delete files until `size` more bytes fit, least recently used first."""
        kept: list[tuple[float, int, Path]] = []
        for path in self.path.glob(f"*{SUFFIX}"):
            with suppress(OSError):
                seen = path.lstat()
                kept.append((seen.st_mtime, seen.st_size, path))
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
