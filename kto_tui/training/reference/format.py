"""The bytes of a segment: a header, then records. Nothing here touches a disk.

    header   "kto-refs", version, CRC-32 of both; then the seal of the namespace that the segment is for
    record   mark, how many values, key, values (float32), digest of all of it

All numbers are little-endian. The mark is where a reader finds its way again after damage. The digest is made
with the seal, so that a record proves by itself that it is whole and belongs here, whatever became of the
header; a damaged one passes once in 2⁶⁴.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from kto_tui.training.reference.keys import KEY_BYTES

MAGIC = b"kto-refs"
VERSION = 1
MAX_VALUES = 1 << 16

_START = struct.Struct("<8sI")  # These and their CRC lie alike in every version, also in those to come.
_CRC = struct.Struct("<I")
_SEAL_BYTES = 16
HEADER_BYTES = _START.size + _CRC.size + _SEAL_BYTES

_MARK = b"\xf1ref"
_RECORD = struct.Struct(f"<4sI{KEY_BYTES}s")
_DIGEST_BYTES = 8
_VALUE_BYTES = 4

HeaderKind = Literal["ours", "other version", "damaged"]


def seal_of(namespace: str) -> bytes:
    """What ties the bytes of a segment to this version of the format and to its namespace."""
    return hashlib.blake2b(f"{VERSION} {namespace}".encode(), digest_size=_SEAL_BYTES).digest()


def header(seal: bytes) -> bytes:
    """What a segment begins with."""
    start = _START.pack(MAGIC, VERSION)
    return start + _CRC.pack(zlib.crc32(start)) + seal


def header_kind(data: bytes, seal: bytes) -> HeaderKind:
    """What `data` begins with. The header of another namespace counts as damaged."""
    if data.startswith(header(seal)):
        return "ours"
    start = data[: _START.size]
    whole = data[_START.size : _START.size + _CRC.size] == _CRC.pack(zlib.crc32(start))
    if whole and start.startswith(MAGIC) and _START.unpack(start)[1] != VERSION:
        return "other version"
    return "damaged"


def encode(key: bytes, values: bytes, seal: bytes) -> bytes:
    """One record. `values`: at most MAX_VALUES numbers of 4 bytes."""
    body = _RECORD.pack(_MARK, len(values) // _VALUE_BYTES, key) + values
    return body + _digest(body, seal)


@dataclass(frozen=True)
class Scan:
    """What was found in a stretch of a segment.

    `end`: just behind the last whole record; what follows is cut off or damaged. `gaps`: stretches of bytes
    before it that are no record.
    """

    records: list[tuple[bytes, bytes]]
    end: int
    gaps: int


def scan(data: bytes, start: int, seal: bytes) -> Scan:
    """All whole records from `start` on, as (key, values), in the order in which they lie there."""
    records, gaps = [], 0
    position = end = start
    while (mark := data.find(_MARK, position)) >= 0:
        values_end = _record_end(data, mark, seal)
        if values_end is None:
            position = mark + 1
            continue
        gaps += mark > end
        values = mark + _RECORD.size
        records.append((data[values - KEY_BYTES : values], data[values:values_end]))
        position = end = values_end + _DIGEST_BYTES
    return Scan(records, end, gaps)


def _record_end(data: bytes, mark: int, seal: bytes) -> int | None:
    """Where the values of the record at this mark end; None if it is not whole."""
    if mark + _RECORD.size > len(data):
        return None
    count: int = _RECORD.unpack_from(data, mark)[1]
    end = mark + _RECORD.size + count * _VALUE_BYTES
    # A damaged count would otherwise have gigabytes digested.
    if count > MAX_VALUES or end + _DIGEST_BYTES > len(data):
        return None
    whole = data[end : end + _DIGEST_BYTES] == _digest(data[mark:end], seal)
    return end if whole else None


def _digest(body: bytes, seal: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES, person=seal).digest()
