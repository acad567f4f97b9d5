"""A value that is there by the order in which things are done."""

from typing import TypeVar

T = TypeVar("T")


def given(value: T | None) -> T:
    """The value; that it is None would be our own mistake."""
    assert value is not None
    return value
