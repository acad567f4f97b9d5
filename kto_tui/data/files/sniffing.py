"""What a file seems to be, from its first bytes, where its name says otherwise."""

from typing import NamedTuple

from kto_tui.core.errors import UserError
from kto_tui.data.files.names import Kind, Packing

HEAD = 4096  # Bytes that are looked at.


class Seems(NamedTuple):
    """What a file seems to be, and what to do about it."""

    what: str
    advice: str
    is_of: Kind | Packing | None = None


_AS_CSV = "save the table as CSV (UTF-8)"
_EXPORT = "export the rows as .jsonl, .csv or .parquet"
_MAGIC: tuple[tuple[bytes, Seems], ...] = (
    (b"PAR1", Seems("a Parquet file", "name it .parquet", Kind.PARQUET)),
    (b"PARE", Seems("an encrypted Parquet file", "decrypt it first")),
    (b"ARROW1", Seems("an Arrow file", "name it .arrow", Kind.ARROW)),
    (b"FEA1", Seems("a Feather file of version 1", "write it again as .parquet")),
    (b"\xff\xff\xff\xff", Seems("an Arrow stream", "name it .arrow", Kind.ARROW)),
    (b"\x1f\x8b", Seems("a gzip file", "end its name in .gz", Packing.GZIP)),
    (b"BZh", Seems("a bzip2 file", "end its name in .bz2", Packing.BZIP2)),
    (b"\xfd7zXZ\x00", Seems("an xz file", "end its name in .xz", Packing.XZ)),
    (b"\x28\xb5\x2f\xfd", Seems("a Zstandard file", "end its name in .zst", Packing.ZSTD)),
    (b"PK\x03\x04", Seems("a ZIP archive", "end its name in .zip", Kind.ZIP)),
    (b"PK\x05\x06", Seems("an empty ZIP archive", "pack it again", Kind.ZIP)),
    (b"\xd0\xcf\x11\xe0", Seems("an old Excel or Word file", _AS_CSV)),
    (b"7z\xbc\xaf\x27\x1c", Seems("a 7-Zip archive", "unpack it")),
    (b"Rar!", Seems("a RAR archive", "unpack it")),
    (b"%PDF", Seems("a PDF", _EXPORT)),
    (b"SQLite format 3", Seems("an SQLite database", _EXPORT)),
    (b"version https://git-lfs", Seems("a Git LFS pointer and not the data", "fetch it with: git lfs pull")),
    (b"\x93NUMPY", Seems("a NumPy array", _EXPORT)),
    (b"\x80\x04\x95", Seems("a Python pickle", _EXPORT)),
    (b"\x89HDF", Seems("an HDF5 file", _EXPORT)),
    (b"Obj\x01", Seems("an Avro file", _EXPORT)),
    (b"ORC", Seems("an ORC file", _EXPORT)),
    (b"\x89PNG", Seems("a picture (PNG)", _EXPORT)),
    (b"\xff\xd8\xff", Seems("a picture (JPEG)", _EXPORT)),
    (b"\x7fELF", Seems("a program", _EXPORT)),
    (b"GGUF", Seems("a model (GGUF)", "name it with --model")),
)
_PAGE = Seems("a web page (HTML)", "download the file itself, not the page about it")
_OFFICE = Seems("an Excel or Word file", _AS_CSV)
_XML = Seems("XML", _EXPORT)
_TAR = Seems("a tar archive", "unpack it")
_JSON = Seems("JSON", "name it .json, or .jsonl with one object a line")
_UTF_16 = Seems("UTF-16 without a byte order mark", "save the file as UTF-8")


def seems(head: bytes) -> Seems | None:
    """What a file that begins with `head` seems to be; None for plain text and for what is not known."""
    if head.startswith(b"PK\x03\x04") and b"[Content_Types].xml" in head:
        return _OFFICE
    for magic, found in _MAGIC:
        # In a table or JSON a word may begin like that: "ORC", "PARENT".
        if head.startswith(magic) and not (magic.isalnum() and _is_text(head)):
            return found
    if head[257:262] == b"ustar":
        return _TAR
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return _PAGE
    if text.startswith(b"<?xml"):
        return _XML
    return _UTF_16 if _is_wide(head) else None


def seems_json(head: bytes) -> Seems | None:
    """Whether what should be a table begins like JSON."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return (
        _JSON
        if text[:1] in (b"{", b"[") and text[1:].lstrip()[:1] in (b'"', b"{", b"[", b"}", b"]")
        else None
    )


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n" for byte in head)


def _is_wide(head: bytes) -> bool:
    """Whether every other byte is NUL, as in ASCII text written in UTF-16."""
    even, odd = head[0:512:2], head[1:512:2]
    return len(odd) >= 4 and (
        (not any(odd) and 0 not in even) or (len(even) == len(odd) and not any(even) and 0 not in odd)
    )


def refuse_other(head: bytes, wanted: Kind | Packing, source: str) -> None:
    """Raise UserError if the first bytes say that the file is something else than its name says."""
    found = seems(head)
    if found is None and wanted in (Kind.CSV, Kind.TSV):
        found = seems_json(head)
    if found is not None and found.is_of is not wanted:
        raise UserError(f"{source}: not {wanted}; it seems to be {found.what}: {found.advice}")
