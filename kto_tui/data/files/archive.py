"""A ZIP archive with one data file in it. Nothing is unpacked to disk under a name that the archive gives."""

import io
import stat
import zipfile
from pathlib import PurePosixPath
from typing import BinaryIO

from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.data.files.compressed import Unpacked
from kto_tui.data.files.limits import BLOCK, BOMB, MIB, grows_too_far
from kto_tui.data.files.names import Kind, kind_of
from kto_tui.data.wording import listed

_LONGEST_LISTING = 16 * MIB  # About 100,000 members; zipfile takes ten times that in memory.


class _Bounded(io.BufferedReader):
    """zipfile reads the archive's listing in one piece, however long the archive says that it is."""

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = _LONGEST_LISTING + 1 if size is None or size < 0 else min(size, _LONGEST_LISTING + 1)
        data = super().read(wanted)
        if len(data) > _LONGEST_LISTING:
            raise zipfile.BadZipFile("too many members")
        return data


def only_member(file: BinaryIO, source: str) -> tuple[io.BufferedReader, str, Kind]:
    """(content, name, kind) of the one data file in the archive. Raises UserError."""
    try:
        # `file` closes what lies below.
        archive = zipfile.ZipFile(_Bounded(io.FileIO(file.fileno(), closefd=False)))
        member, kind = _choose(archive.infolist(), source)
        name = f"{source}/{printable(member.filename)}"
        _require_readable(member, name)
        content = archive.open(member)
    except (
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        ValueError,
        RuntimeError,
        OverflowError,
    ) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{source}: not a whole ZIP archive: {printable(one_line(error))[:160]}; copy the file again"
        ) from None
    unpacked = Unpacked(content, lambda: member.compress_size, Kind.ZIP, name)
    return io.BufferedReader(unpacked, BLOCK), name, kind


def _choose(members: list[zipfile.ZipInfo], source: str) -> tuple[zipfile.ZipInfo, Kind]:
    found = [member for member in members if _is_data(member)]
    names = [member.filename for member in found]
    if not found:
        raise UserError(f"{source}: no data file in the archive; found {listed(m.filename for m in members)}")
    if len(found) > 1:
        raise UserError(
            f"{source}: {len(found)} data files in the archive ({listed(names[:3])}"
            f"{', …' * (len(names) > 3)}); expected one: unpack it and name the folder"
        )
    kind = kind_of(names[0])
    assert kind is not None
    if kind[0] is Kind.ZIP or kind[1]:
        raise UserError(
            f"{source}: {printable(names[0])[:100]} in the archive is compressed itself; unpack both"
        )
    return found[0], kind[0]


def _is_data(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.filename).parts
    is_hidden = any(part == "__MACOSX" or (part[0] == "." and part != "..") for part in parts)
    return not (member.is_dir() or is_hidden) and kind_of(member.filename) is not None


def _require_readable(member: zipfile.ZipInfo, name: str) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise UserError(f"{name}: a name that leads out of the archive; unpack it yourself if you trust it")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UserError(f"{name}: a link and no data; pack the file itself")
    if member.flag_bits & 1:
        raise UserError(f"{name}: encrypted; unpack it with its password")
    if grows_too_far(member.file_size, member.compress_size):
        raise UserError(f"{name}: {BOMB}")
