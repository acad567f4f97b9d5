"""When two rows have the same prompt, and when the same answer, to splits, blocks and reports alike."""

import hashlib
from typing import Any

import msgspec

from kto_tui.data.rows import Row, Text

_encode = msgspec.json.Encoder(order="deterministic").encode


def prompt_key(row: Row) -> int:
    """64 bits, equal for equal prompts with equal tools.

    The order in which a message or a tool has its keys is no difference, nor is whether a question stands
    as text or as the message of a user. Among a million prompts the chance that two are taken for one is 1
    in 40 million. Raises UnicodeEncodeError for half of a surrogate pair.
    """
    messages = _messages(row.prompt, "user")
    return _hashed((messages, row.tools) if row.tools else messages)


def answer_key(row: Row) -> int:
    """The same of the answer, as text or as the message of the model."""
    return _hashed(_messages(row.completion, "assistant"))


def _messages(text: Text, role: str) -> list[dict[str, Any]]:
    return [{"role": role, "content": text}] if isinstance(text, str) else text


def _hashed(value: Any) -> int:
    return int.from_bytes(hashlib.blake2b(_encode(value), digest_size=8).digest())
