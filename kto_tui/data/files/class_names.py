"""Names that a column's numbers stand for, as `datasets` keeps them: they say whether 0 is bad or good."""

from collections.abc import Mapping
from typing import Any

import msgspec

_KEY = b"huggingface"  # Of the schema, in the Parquet and Arrow files that `datasets` writes.
Names = Mapping[str, list[str]]


class _Info(msgspec.Struct):
    features: dict[str, Any] = {}


class _Metadata(msgspec.Struct):
    info: _Info = msgspec.field(default_factory=_Info)


_decode = msgspec.json.Decoder(_Metadata).decode


def stored_names(metadata: Mapping[bytes, bytes] | None) -> Names:
    """By column, of the metadata of a schema. Nothing where that is not what `datasets` writes."""
    try:
        features = _decode((metadata or {}).get(_KEY, b"{}")).info.features
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return {column: names for column, feature in features.items() if (names := _listed(feature))}


def _listed(feature: Any) -> list[str] | None:
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def with_names(record: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """The record with names in place of numbers; -1 stands for no label at all."""
    named = {column: _name(record[column], theirs) for column, theirs in names.items() if column in record}
    return {**record, **named}


def _name(value: Any, names: list[str]) -> Any:
    if type(value) is not int or value >= len(names) or value < -1:
        return value
    return None if value == -1 else names[value]
