"""Files that are damaged, misnamed or meant to do harm: one clear line, quickly, in little memory."""

import gzip
import io
import json
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tests.data.files.writing import Record, columnar, packed, refusal_of, written, zipped

ROW: Record = {"prompt": "a", "completion": "b", "label": True}
ROWS = [{**ROW, "completion": f"answer {n * 7919 % 10_007}"} for n in range(4000)]
LINE = json.dumps(ROW).encode() + b"\n"
LIST = written("json", [ROW, ROW])
CSV = b"prompt,label\na,1\n"
PARQUET = columnar("parquet", pa.Table.from_pylist(ROWS), 4000)
ARROW = columnar("arrow", pa.Table.from_pylist(ROWS))
STREAM = columnar("stream", pa.Table.from_pylist(ROWS))
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"
BLANK = 64 * 2**20  # Bytes of a bomb.


def scratched(content: bytes, start: int, length: int = 64) -> bytes:
    return (
        content[:start]
        + bytes(byte ^ 0xA5 for byte in content[start : start + length])
        + content[start + length :]
    )


def encrypted(content: bytes) -> bytes:
    """A ZIP archive that says of its member that it is encrypted, in both places."""
    changed = bytearray(content)
    changed[6] |= 1
    changed[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def other_method(content: bytes) -> bytes:
    """A ZIP archive packed with Deflate64, as Windows does for large files."""
    start = content.index(b"PK\x01\x02")
    return content[:8] + b"\x09\0" + content[10 : start + 10] + b"\x09\0" + content[start + 12 :]


def link(name: str) -> bytes:
    file = io.BytesIO()
    member = zipfile.ZipInfo(name)
    member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, "/etc/passwd")
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jsonl"))
    return file.getvalue()


def parquet_of_one_value(rows: int) -> bytes:
    return columnar("parquet", pa.table({"a": pa.repeat(pa.scalar(1, pa.int8()), rows)}), rows)


def bomb(ending: str, piece: bytes) -> Callable[[], bytes]:
    return lambda: packed(ending, piece * (BLANK // len(piece)))


# name: (file, content, words of the message)
DAMAGED: dict[str, tuple[str, bytes | Callable[[], bytes], str]] = {
    # JSON Lines
    "broken row": (
        "a.jsonl",
        LINE * 40 + b'{"prompt": "a" "b"}\n',
        ", line 41, column 16: not JSON: Expecting ','",
    ),
    "cut row": (
        "a.jsonl",
        LINE + LINE[:20],
        ", line 2, column 17: not JSON: Unterminated string starting at; the line ends in the middle",
    ),
    "two values on a line": ("a.jsonl", LINE[:-1] * 2, ", line 1, column 50: not JSON: Extra data"),
    "single quotes": ("a.jsonl", b"{'prompt': 'a'}\n", "double quotes"),
    "python words": ("a.jsonl", b'{"label": True}\n', ", line 1, column 11: not JSON: Expecting value"),
    "trailing comma": ("a.jsonl", b'{"label": true,}\n', ", line 1, column 1"),
    "a tab in a text": (
        "a.jsonl",
        b'{"a": "\t"}\n',
        ", line 1, column 8: not JSON: Invalid control character",
    ),
    "bad escape": ("a.jsonl", rb'{"a": "\x41"}', ", line 1, column 8: not JSON: Invalid \\escape"),
    "key twice": ("a.jsonl", LINE + b'{"label": true, "label": false}', ', line 2: "label" stands twice'),
    "key twice inside": ("a.jsonl", b'{"m": [{"role": 1, "role": 2}]}', '"role" stands twice in one object'),
    "forged key twice": ("a.jsonl", b'{"\\u001b[2J": 1, "\\u001b[2J": 2}', r'"\u001b[2J" stands twice'),
    "thousands of digits": (
        "a.jsonl",
        b'{"a": %s}' % (b"9" * 5000),
        "not JSON that can be read: Exceeds the limit",
    ),
    "deep": ("a.jsonl", LINE + b"[" * 100_000, ", line 2: lists or objects are nested too deeply"),
    "deep and closed": ("a.jsonl", b'{"a":' * 9000 + b"1" + b"}" * 9000, "nested too deeply"),
    "latin-1": ("a.jsonl", LINE * 9 + '{"a": "é"}'.encode("latin-1"), ", line 10: not UTF-8; save the file"),
    "cut inside of a letter": ("a.jsonl", LINE + '"é'.encode()[:-1], ", line 2: not UTF-8"),
    "half a UTF-16 unit": ("a.jsonl", "1\n".encode("utf-16") + b"x", ", line 2: not UTF-16; save the file"),
    "broken UTF-16": ("a.jsonl", b"\xfe\xff\x00\n\xd8\x00\x00x", ", line 2: not UTF-16"),
    "broken UTF-32": ("a.jsonl", b"\xff\xfe\0\0\xff\xff\xff\xff", ", line 1: not UTF-32"),
    "UTF-16 without a mark": (
        "a.jsonl",
        LINE.decode().encode("utf-16-le"),
        "UTF-16 without a byte order mark: save",
    ),
    "big-endian without a mark": (
        "a.csv",
        CSV.decode().encode("utf-16-be"),
        "UTF-16 without a byte order mark",
    ),
    "NUL bytes": ("a.jsonl", LINE + b"\0" * 4096, ", line 2, column 1: not JSON"),
    "escapes": ("a.jsonl", b"\x1b[2J\x1b]0;owned\x07", ", line 1, column 1: not JSON"),
    "a list of rows": (
        "a.jsonl",
        LIST,
        ", line 1: found a list; expected an object (one list for all rows? then name",
    ),
    "a list over lines": ("a.jsonl", b"[\n" + LINE, "(one list for all rows? then name the file .json)"),
    "an object over lines": ("a.jsonl", json.dumps(ROW, indent=1).encode(), "write each row on one line"),
    "a table called lines": ("a.jsonl", CSV, "(a table with commas? then name the file .csv)"),
    "a row without end": (
        "a.jsonl",
        lambda: b'{"a": "' + b"x" * (65 << 20),
        ", line 1: a row of more than 64 MiB",
    ),
    # JSON
    "broken item": (
        "a.json",
        b'[{"a": 1},\n {"a" 2}]',
        ", line 2, column 7: not JSON: Expecting ':' delimiter (row 2)",
    ),
    "far into the list": (
        "a.json",
        b"[" + b",\n".join([LINE[:-1]] * 20_000) + b',\n{"a": tru}]',
        ", line 20001, column 7: not JSON: Expecting value (row 20001)",
    ),
    "cut list": ("a.json", LIST[:-1], ", column 102: it ends in the middle; is the file cut short? (row 2)"),
    "cut item": ("a.json", LIST[:-30], "is the file cut short? (row 2)"),
    "cut after a comma": ("a.json", b"[1,", ", line 1, column 4: it ends in the middle"),
    "no comma": ("a.json", b"[1 2]", ", line 1, column 4: not JSON: Expecting ',' delimiter (row 1)"),
    "comma at the end": ("a.json", b"[1,]", ", line 1, column 4: not JSON: Expecting value (row 2)"),
    "text behind": ("a.json", b"[1]\n]", ", line 2, column 1: not JSON: Extra data"),
    "lines called json, one of them broken": (
        "a.json",
        LINE * 2 + b"{,}\n",
        ", line 3, column 2: not JSON: Expecting property name enclosed in double quotes (row 3)",
    ),
    "one object": ("a.json", LINE, ": found an object with 0 lists; expected a list of rows"),
    "two lists": ("a.json", b'{"a": [], "n": {}, "b": [1]}', ": found an object with 2 lists; expected"),
    "no list": ("a.json", b'"rows"', ': found "rows"; expected a list of rows'),
    "cut object": ("a.json", b'{"data": [1]', ", line 1, column 13: it ends in the middle"),
    "no key": ("a.json", b'{"data": [1], 5: 1}', "Expecting property name enclosed in double quotes"),
    "no colon": ("a.json", b'{"data" [1]}', "Expecting ':' delimiter"),
    "no value at all": ("a.json", b"nothing here", ", line 1, column 1: not JSON: Expecting value"),
    "deep items": ("a.json", b"[\n" * 100_000, ", line 2: lists or objects are nested too deeply (row 1)"),
    "many digits": ("a.json", b"[1, %s]" % (b"1" * 5000), "not JSON that can be read: Exceeds the limit"),
    "item with a key twice": (
        "a.json",
        b'[1,\n{"a": 1, "a": 2}]',
        ', line 2: "a" stands twice in one object',
    ),
    "latin-1 in a list": ("a.json", '[1,\n"é"]'.encode("latin-1"), ", line 2: not UTF-8"),
    "a string without end": (
        "a.json",
        lambda: b'["' + b"x" * (70 << 20),
        ", line 1: a row of more than 64 MiB",
    ),
    "a string that is cut": (
        "a.json",
        b'["' + b"x" * 10**6,
        ", line 1, column 2: not JSON: Unterminated string",
    ),
    # Tables
    "ragged row": ("a.csv", CSV + b"b\n", ", row 2: found 1 cells; expected 2, as in the first line"),
    "long row": ("a.csv", CSV + b"b,1,2\n", ", row 2: found 3 cells; expected 2"),
    "open quote": (
        "a.csv",
        CSV + b'"b,1\n' + CSV * 9,
        "not CSV: unexpected end of data; a quote that is not closed in line 3?",
    ),
    "quote inside": ("a.csv", CSV + b'"b" c,1\n', ", row 2 (line 3): not CSV"),
    "open quote in a large file": (
        "a.csv",
        lambda: CSV + b'"' + CSV * (5 << 20),
        ", line 3: a row (or a quote that is not",
    ),
    "column twice": ("a.csv", b"prompt,label,label\na,1,1\n", ': two columns are called "label"; rename one'),
    "columns without names": ("a.csv", b"prompt,,label,\na,,1,\n", ": columns 2 and 4 have no name"),
    "forged column": ("a.tsv", b"\x1b[2J\t\x1b[2J\n1\t2\n", r'two columns are called "\u001b[2J"'),
    "latin-1 table": (
        "a.csv",
        CSV + "é,0\n".encode("latin-1"),
        ", line 3: not UTF-8; save the file as UTF-8",
    ),
    "ragged semicolons": ("a.csv", b"prompt;label\na;b;1\n", ", row 1: found 3 cells; expected 2"),
    "JSON called a table": ("a.csv", LINE, ": not CSV; it seems to be JSON: name it .json, or .jsonl"),
    "a list called a table": ("a.tsv", LIST, ": not TSV; it seems to be JSON"),
    # Columnar files
    "empty parquet": ("a.parquet", b"", ": not a whole Parquet file: it is empty"),
    "empty arrow": ("a.arrow", b"", ": not a whole Arrow file: it is empty"),
    "cut parquet": ("a.parquet", PARQUET[:-50], ": not a whole Parquet file"),
    "scratched parquet": ("a.parquet", scratched(PARQUET, 2000, 4000), "not a whole Parquet file"),
    "scratched end": ("a.parquet", scratched(PARQUET, len(PARQUET) - 300), ": not a whole Parquet file"),
    "no parquet": ("a.parquet", b"PAR1" + b"\0" * 100 + b"PAR1", ": not a whole Parquet file"),
    "text called parquet": ("a.parquet", LINE, ": not a whole Parquet file: it does not begin like one"),
    "cut arrow": ("a.arrow", ARROW[: len(ARROW) // 2], ": not a whole Arrow file"),
    "scratched arrow": ("a.arrow", scratched(ARROW, 4000, 3000), "not a whole Arrow file"),
    "cut stream": ("a.arrow", STREAM[: len(STREAM) // 2], "not a whole Arrow file"),
    "scratched stream": ("a.arrow", scratched(STREAM, 900), "not a whole Arrow file"),
    "no stream": ("a.arrow", b"\xff\xff\xff\xff\xff\xff\xff\x7f", ": not a whole Arrow file"),
    "huge message": ("a.arrow", b"\xff\xff\xff\xff\xf0\xff\xff\x7f" + b"\0" * 99, ": not a whole Arrow file"),
    "arrow called parquet": (
        "a.parquet",
        ARROW,
        ": not Parquet; it seems to be an Arrow file: name it .arrow",
    ),
    "parquet column twice": (
        "a.parquet",
        columnar("parquet", pa.Table.from_arrays([pa.array([1])] * 2, ["a", "a"])),
        ': two columns are called "a"; rename one',
    ),
    "a long cell": (
        "a.arrow",
        lambda: columnar("arrow", pa.table({"a": ["", "x" * (65 << 20)]})),
        ", row 2: a row of more",
    ),
    # Files called something else
    "parquet called csv": ("a.csv", PARQUET, ": not CSV; it seems to be a Parquet file: name it .parquet"),
    "gzip called lines": (
        "a.jsonl",
        gzip.compress(LINE),
        ": not JSON Lines; it seems to be a gzip file: end its name in",
    ),
    "zstd called lines": ("a.jsonl", packed(".zst", LINE), "it seems to be a Zstandard file"),
    "a page called json": (
        "a.json",
        PAGE,
        ": not JSON; it seems to be a web page (HTML): download the file itself",
    ),
    "a page called csv": ("a.csv", PAGE, ": not CSV; it seems to be a web page"),
    "git lfs": (
        "a.parquet",
        LFS,
        "it seems to be a Git LFS pointer and not the data: fetch it with: git lfs pull",
    ),
    "git lfs, packed": ("a.jsonl.gz", LFS, ": not gzip; it seems to be a Git LFS pointer"),
    "pdf": ("a.jsonl", b"%PDF-1.7\n%\xe2\xe3", "it seems to be a PDF: export the rows"),
    "excel": (
        "a.csv",
        zipped(("[Content_Types].xml", b""), ("xl/workbook.xml", b"")),
        "an Excel or Word file: save the",
    ),
    "old excel": ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file"),
    "sqlite": ("a.csv", b"SQLite format 3\0" + b"\0" * 100, "an SQLite database"),
    "pickle": ("a.json", b"\x80\x04\x95\x10\0", "a Python pickle"),
    "picture": ("a.jsonl", b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
    "xml": ("a.json", b'<?xml version="1.0"?><rows/>', "it seems to be XML"),
    "tar": (
        "a.jsonl.gz",
        lambda: gzip.compress(tar()),
        ": not JSON Lines; it seems to be a tar archive: unpack it",
    ),
    "zip called lines": (
        "a.jsonl",
        zipped(("a.jsonl", LINE)),
        "it seems to be a ZIP archive: end its name in .zip",
    ),
    "unknown kind": ("a.txt", LINE, ": the name must end in one of .json, .jsonl"),
    # Compressed files
    "empty gzip": ("a.jsonl.gz", b"", ": empty, not even the beginning of gzip data"),
    "text called gzip": ("a.jsonl.gz", LINE, ": damaged gzip data: Not a gzipped file"),
    "text called bzip2": ("a.jsonl.bz2", LINE, ": damaged bzip2 data: Invalid data stream"),
    "text called xz": ("a.jsonl.xz", LINE, ": damaged xz data: Input format not supported"),
    "text called zstd": ("a.jsonl.zst", LINE, ": damaged Zstandard data"),
    "bzip2 called gzip": ("a.jsonl.gz", packed(".bz2", LINE), ": not gzip; it seems to be a bzip2 file"),
    "cut gzip": (
        "a.jsonl.gz",
        gzip.compress(LINES)[:-20],
        ": damaged gzip data: it ends in the middle; copy or",
    ),
    "cut bzip2": ("a.csv.bz2", packed(".bz2", LINES)[:-20], ": damaged bzip2 data: it ends in the middle"),
    "cut xz": ("a.json.xz", packed(".xz", LINES)[:-20], ": damaged xz data: it ends in the middle"),
    "cut zstd": (
        "a.jsonl.zst",
        packed(".zst", LINES)[:-20],
        ": damaged Zstandard data: it ends in the middle",
    ),
    "bad checksum": (
        "a.jsonl.gz",
        scratched(gzip.compress(LINES), -8 % len(gzip.compress(LINES)), 4),
        "CRC check failed",
    ),
    "scratched gzip": ("a.jsonl.gz", scratched(gzip.compress(LINES), 5000), ": damaged gzip data"),
    "scratched bzip2": ("a.jsonl.bz2", scratched(packed(".bz2", LINES), 4), ": damaged bzip2 data"),
    "scratched xz": (
        "a.jsonl.xz",
        scratched(packed(".xz", LINES), 5000),
        ": damaged xz data: Corrupt input data",
    ),
    "junk behind gzip": (
        "a.jsonl.gz",
        gzip.compress(LINE) + b"junk",
        ": damaged gzip data: Not a gzipped file",
    ),
    "broken row in gzip": ("a.jsonl.gz", gzip.compress(LINE + b"{"), ", line 2, column 2: not JSON"),
    "cut parquet in gzip": ("a.parquet.gz", gzip.compress(PARQUET[:-9]), ": not a whole Parquet file"),
    "cut gzip of parquet": (
        "a.parquet.gz",
        gzip.compress(PARQUET)[:-9],
        ": damaged gzip data: it ends in the middle",
    ),
    # Archives
    "empty zip file": ("a.zip", b"", ": not a whole ZIP archive: BadZipFile: File is not a zip file"),
    "text called zip": ("a.zip", LINE, ": not a whole ZIP archive"),
    "parquet called zip": ("a.zip", PARQUET, ": not ZIP; it seems to be a Parquet file"),
    "cut zip": ("a.zip", zipped(("a.jsonl", LINES))[:-200], ": not a whole ZIP archive"),
    "zip without members": ("a.zip", zipped(), ": no data file in the archive; found none"),
    "zip without data": (
        "a.zip",
        zipped(("\x1b[2J.txt", b"")),
        r": no data file in the archive; found \x1b[2J.txt",
    ),
    "zip of hidden files": ("a.zip", zipped(("__MACOSX/._a.jsonl", b""), (".a.csv", b"")), ": no data file"),
    "two members": (
        "a.zip",
        zipped(("a.jsonl", LINE), ("b.jsonl", LINE)),
        ": 2 data files in the archive (a.jsonl, b.jsonl)",
    ),
    "encrypted": (
        "a.zip",
        encrypted(zipped(("a.jsonl", LINE))),
        "/a.jsonl: encrypted; unpack it with its password",
    ),
    "out of the archive": (
        "a.zip",
        zipped(("../../a.jsonl", LINE)),
        "/../../a.jsonl: a name that leads out of the archive",
    ),
    "from the root": ("a.zip", zipped(("/etc/a.jsonl", LINE)), "a name that leads out of the archive"),
    "windows path": ("a.zip", zipped(("c:\\a.jsonl", LINE)), "a name that leads out of the archive"),
    "link in a zip": ("a.zip", link("a.jsonl"), "/a.jsonl: a link and no data"),
    "zip in a zip": (
        "a.zip",
        zipped(("a.zip", zipped(("a.jsonl", LINE)))),
        "a.zip in the archive is compressed itself",
    ),
    "gzip in a zip": ("a.zip", zipped(("a.jsonl.gz", b"")), "a.jsonl.gz in the archive is compressed itself"),
    "scratched member": ("a.zip", scratched(zipped(("a.jsonl", LINES)), 5000), "/a.jsonl: damaged ZIP data"),
    "scratched stored member": (
        "a.zip",
        scratched(zipped(("a.csv", CSV), method=zipfile.ZIP_STORED), 40, 1),
        "/a.csv: damaged ZIP data: Bad CRC-32",
    ),
    "unknown method": (
        "a.zip",
        other_method(zipped(("a.jsonl", LINE))),
        ": not a whole ZIP archive: NotImplementedError",
    ),
    "page in a zip": ("a.zip", zipped(("a.csv", PAGE)), "/a.csv: not CSV; it seems to be a web page"),
    # Bombs
    "gzip bomb": (
        "a.jsonl.gz",
        bomb(".gz", b"\n"),
        ": unpacks to more than 500 times its size, as a decompression bomb",
    ),
    "gzip bomb of a row": ("a.json.gz", bomb(".gz", b"    "), ": unpacks to more than 500 times its size"),
    "gzip bomb of rows": (
        "a.csv.gz",
        bomb(".gz", b"a" * 4000 + b"," + b"b" * 4000 + b"\n"),
        ": unpacks to more than 500 times its size",
    ),
    "bzip2 bomb": ("a.jsonl.bz2", bomb(".bz2", b"\n" * 64), ": unpacks to more than 500 times its size"),
    "xz bomb": ("a.jsonl.xz", bomb(".xz", b"\n" * 64), ": unpacks to more than 500 times its size"),
    "zstd bomb": ("a.jsonl.zst", bomb(".zst", b"\n" * 64), ": unpacks to more than 500 times its size"),
    "zip bomb": (
        "a.zip",
        lambda: zipped(("a.csv", b"a,b\n" * (BLANK // 4))),
        "/a.csv: unpacks to more than 500 times",
    ),
    "zip with a false size": (
        "a.zip",
        lambda: zipped(("a.jsonl", b"\n" * BLANK)).replace(struct.pack("<L", BLANK), struct.pack("<L", 99)),
        "/a.jsonl: damaged ZIP data: Bad CRC-32",
    ),
    "parquet bomb": (
        "a.parquet.gz",
        lambda: gzip.compress(PARQUET + b"\0" * BLANK),
        ": unpacks to more than 500 times",
    ),
    "rows without end": (
        "a.parquet",
        lambda: parquet_of_one_value(3 << 20),
        ": unpacks to more than 500 times its size",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_gets_one_clear_line(tmp_path: Path, name: str) -> None:
    file, made, words = DAMAGED[name]
    content = made() if callable(made) else made
    (tmp_path / file).write_bytes(content)
    began = time.process_time()
    message = refusal_of(tmp_path / file)
    assert time.process_time() - began < 3
    assert words in message


def test_there_are_enough_of_them() -> None:
    assert len(DAMAGED) >= 60
