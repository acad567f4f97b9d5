"""The number that a journal's next event goes on from, found without reading the whole of it."""

import os

import msgspec

from kto_tui.core.events import MOST

LONGEST_LINE = 1 << 20
_BLOCK = 1 << 16
# A forged number up there would leave no room for those that follow.
_HIGHEST = MOST // 2


class _Numbered(msgspec.Struct):
    """What lines of all versions have in common."""

    type: str
    seq: int


_decoder = msgspec.json.Decoder(_Numbered)


def last_seq(descriptor: int) -> int:
    """The highest `seq` near the end of a journal; where no line has one, how many lines there are.

    Reads blocks from the end backwards. Lines that are torn, foreign or too long are passed over.
    """
    end = os.fstat(descriptor).st_size
    rest = b""
    while end > 0:
        start = max(0, end - _BLOCK)
        head, *lines = (os.pread(descriptor, end - start, start) + rest).split(b"\n")
        if start == 0:
            lines.append(head)
        if found := max(map(_seq, lines), default=0):
            return found
        rest = head if len(head) <= LONGEST_LINE else b""
        end = start
    return _count_lines(descriptor)


def _seq(line: bytes) -> int:
    try:
        seq = _decoder.decode(line).seq
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return seq if 0 < seq <= _HIGHEST else 0


def _count_lines(descriptor: int) -> int:
    count = offset = 0
    while data := os.pread(descriptor, _BLOCK, offset):
        count += data.count(b"\n")
        offset += len(data)
    return count
