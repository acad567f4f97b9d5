"""What the name of a file says about it: the kind of its data, its compression, its split."""

import re
from enum import StrEnum


class Kind(StrEnum):
    """How rows are written down in a file. The value is what people call it."""

    JSON = "JSON"
    LINES = "JSON Lines"
    CSV = "CSV"
    TSV = "TSV"
    PARQUET = "Parquet"
    ARROW = "Arrow"
    ZIP = "ZIP"


class Packing(StrEnum):
    """How a file is compressed. The value is what people call it."""

    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "Zstandard"


_KINDS = {
    ".json": Kind.JSON,
    ".jsonl": Kind.LINES,
    ".ndjson": Kind.LINES,
    ".csv": Kind.CSV,
    ".tsv": Kind.TSV,
    ".parquet": Kind.PARQUET,
    ".arrow": Kind.ARROW,
    ".zip": Kind.ZIP,
}
_PACKINGS = {".gz": Packing.GZIP, ".bz2": Packing.BZIP2, ".xz": Packing.XZ, ".zst": Packing.ZSTD}
FILE_TYPES = tuple(_KINDS)
PACKED_TYPES = tuple(_PACKINGS)

_HELD_OUT = re.compile(r"(^|[^a-z])(tests?|testing|eval|evaluation|val|valid|validation|dev)([^a-z]|$)")
_SPLIT_ALONE = re.compile(
    r"(?:data[-_.])?(?:tests?|testing|eval|evaluation|val|valid|validation|dev)(?:[-_.]?(?:data|sets?|split))?"
    r"(?:[-_][0-9a-f]+)*(?:[-_]of[-_][0-9]+)?"
)


def kind_of(name: str) -> tuple[Kind, Packing | None] | None:
    """The kind of data and the compression, or None if the name tells of no data."""
    lower = name.lower()
    packing = next((p for ending, p in _PACKINGS.items() if lower.endswith(ending)), None)
    if packing:
        lower = lower[: lower.rindex(".")]
    kind = next((k for ending, k in _KINDS.items() if lower.endswith(ending)), None)
    if kind is None or (kind is Kind.ZIP and packing):
        return None
    return kind, packing


def is_data_file(name: str) -> bool:
    """Whether a file of this name is read, compressed ones included."""
    return kind_of(name) is not None


def is_plain_split(name: str) -> bool:
    """Whether a path that is held out is named for that alone, as user-test-feedback.jsonl is not."""
    folders, _, file = name.lower().rpartition("/")
    parts = [part for part in (*folders.split("/"), file.partition(".")[0]) if _HELD_OUT.search(part)]
    return all(_SPLIT_ALONE.fullmatch(part) for part in parts)


def is_held_out(name: str) -> bool:
    """Whether a path says that these rows are for tests: test.csv, data/validation-00000-of-00001.parquet."""
    return _HELD_OUT.search(name.lower()) is not None
