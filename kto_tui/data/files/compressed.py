"""Compressed files as streams: damage and decompression bombs become one clear line."""

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Any, BinaryIO, Protocol

from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.data.files.limits import BLOCK, BOMB, MIB, grows_too_far
from kto_tui.data.files.names import Packing
from kto_tui.data.files.sniffing import HEAD, refuse_other

_XZ_MEMORY = 256 * MIB  # `xz -9` needs 65 MiB.
_DAMAGE = (zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, ValueError)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Unpacked(io.RawIOBase):
    """The bytes of a compressed stream.

    `packed_bytes` tells how much of the compressed stream was read so far. Reads raise UserError.
    """

    def __init__(self, inner: _Readable, packed_bytes: Callable[[], int], packing: str, source: str) -> None:
        super().__init__()
        self._inner, self._packed_bytes, self._packing, self._source = inner, packed_bytes, packing, source
        self._unpacked_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._read(min(len(buffer), BLOCK))
        self._unpacked_bytes += len(data)
        if grows_too_far(self._unpacked_bytes, self._packed_bytes()):
            raise UserError(f"{self._source}: {BOMB}")
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            return self._inner.read(size)
        except UserError:
            raise
        except EOFError:
            raise self._damaged("it ends in the middle") from None
        except OSError as error:
            if error.errno is not None:  # The disk, and not the content.
                raise
            raise self._damaged(_cut_short(error)) from None
        except _DAMAGE as error:
            raise self._damaged(_cut_short(error)) from None

    def _damaged(self, what: str) -> UserError:
        return UserError(
            f"{self._source}: damaged {self._packing} data: {what}; copy or download the file again"
        )


def _cut_short(error: Exception) -> str:
    text = one_line(error).partition(": ")[2] or one_line(error)
    return "it ends in the middle" if "Truncated" in text else printable(text)[:160]


def unpacked(file: BinaryIO, packing: Packing, source: str) -> io.BufferedReader:
    """The unpacked content of an open file. Raises UserError, also while it is read."""
    head = file.read(HEAD)
    file.seek(0)
    if not head:
        raise UserError(f"{source}: empty, not even the beginning of {packing} data; copy the file again")
    refuse_other(head, packing, source)
    return io.BufferedReader(Unpacked(_DECODERS[packing](file), file.tell, packing, source), BLOCK)


class _Xz:
    """`lzma.LZMAFile` with a bound on the memory that the file may ask for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        while True:
            if self._decoder.eof and not self._next_stream():
                return b""
            packed = self._file.read(BLOCK) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not packed:
                raise EOFError
            data = self._decoder.decompress(packed, size)
            if data:
                return data

    def _next_stream(self) -> bool:
        """Go on to what `xz` wrote behind the first stream, if there is anything but padding."""
        rest = self._decoder.unused_data.lstrip(b"\0") or self._file.read(BLOCK).lstrip(b"\0")
        if not rest:
            return False
        self._decoder = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
        self._file.seek(-len(rest), io.SEEK_CUR)
        return True


def _zstd(file: BinaryIO) -> IO[bytes]:
    import pyarrow  # The standard library has it from Python 3.14 on.

    return pyarrow.CompressedInputStream(file, "zstd")  # type: ignore[no-any-return]


_DECODERS: dict[Packing, Callable[[BinaryIO], _Readable]] = {
    Packing.GZIP: lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    Packing.BZIP2: lambda file: bz2.BZ2File(file, "rb"),
    Packing.XZ: _Xz,
    Packing.ZSTD: _zstd,
}


def on_disk(stream: io.BufferedReader) -> BinaryIO:
    """The stream itself if it can be sought in, else its content in a file that goes away when closed."""
    if stream.seekable():
        return stream
    copy = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        shutil.copyfileobj(stream, copy, BLOCK)
    except BaseException:
        copy.close()
        raise
    copy.seek(0)
    return copy
