"""Nulls that columnar files put into objects: all objects of a column have the same keys there.

A key that one object lacks is null in it. JSON tells a null from a key that is not there, and so do chat
templates: a default of null, an argument that was not given.
"""

from collections.abc import Callable
from typing import Any

Close = Callable[[Any], None]


def closing(kind: Any, column: Any = None) -> Close | None:
    """What deletes such keys from a row's value, in place; None where there are none.

    kind: the Arrow type of the values. column: the array that they are of, which says where it holds null.
    Keys of an object that is itself the value of a row stay: they are columns by another name.
    """
    import pyarrow

    if not pyarrow.types.is_struct(kind):
        return _closing(kind, column)
    _, inner = _fields(kind, column)
    return _of_struct((), inner) if inner else None


def _closing(kind: Any, array: Any) -> Close | None:
    from pyarrow import types

    if types.is_struct(kind):
        gaps, inner = _fields(kind, array)
        return _of_struct(gaps, inner) if gaps or inner else None
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return None
    close = _closing(kind.value_type, None if array is None else array.flatten())
    return _of_list(close) if close else None


def _fields(kind: Any, array: Any) -> tuple[tuple[str, ...], tuple[tuple[str, Close], ...]]:
    """(names of the fields that may hold null, name and what to do of those that hold objects)."""
    gaps, inner = [], []
    for number, field in enumerate(kind):
        values = None if array is None else array.field(number)
        if values is None or values.null_count:
            gaps.append(field.name)
        if (close := _closing(field.type, values)) is not None:
            inner.append((field.name, close))
    return tuple(gaps), tuple(inner)


def _of_struct(gaps: tuple[str, ...], inner: tuple[tuple[str, Close], ...]) -> Close:
    def close(value: Any) -> None:
        if type(value) is not dict:  # Null, or what `datasets` decodes pictures and sound to.
            return
        for name in gaps:
            if name in value and value[name] is None:
                del value[name]
        for name, close_inner in inner:
            if name in value:
                close_inner(value[name])

    return close


def _of_list(close_item: Close) -> Close:
    def close(value: Any) -> None:
        if type(value) is list:
            for item in value:
                close_item(item)

    return close
