"""Where rows lie, in six bytes a row: most places differ only in their number."""

from array import array

import numpy as np
from numpy.typing import NDArray

_MOST_SHAPES = 65_535
_ROW = ", row "


class Places:
    """The `where` of rows, by their position. "train.jsonl, row 41, chosen" is a shape and a number."""

    def __init__(self) -> None:
        self._numbers = array("I")
        self._shapes = array("H")
        self._known: dict[tuple[str, str], int] = {}
        self._last_start, self._last_shape = "\n", 0  # No place begins so.

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def bytes(self) -> int:
        """Memory of the entries."""
        return self._numbers.itemsize * len(self._numbers) + self._shapes.itemsize * len(self._shapes)

    @property
    def keys(self) -> NDArray[np.uint64]:
        """(rows,) equal for equal places."""
        shapes = np.array(self._shapes, dtype=np.uint64)
        return (shapes << np.uint64(32)) | np.array(self._numbers, dtype=np.uint64)

    def add(self, where: str) -> None:
        """Note the next row's place."""
        start = self._last_start
        if where.startswith(start) and (digits := where[len(start) :]).isdecimal() and len(digits) < 10:
            shape, number = self._last_shape, int(digits)  # The next row of the same file, as most are.
        else:
            shape, number = self._shape_of(where)
        self._shapes.append(shape)
        self._numbers.append(number)

    def _shape_of(self, where: str) -> tuple[int, int]:
        head, found, tail = where.rpartition(_ROW)
        digits, comma, rest = tail.partition(",")
        if not (found and digits.isdecimal() and digits[0] != "0" and len(digits) < 10):
            return self._number_of((where, "")), 0
        shape = self._number_of((head, comma + rest))
        if not comma:
            self._last_start, self._last_shape = head + _ROW, shape
        return shape, int(digits)

    def _number_of(self, shape: tuple[str, str]) -> int:
        """The shape's own number. Beyond a bound none is kept: a million would fill the memory."""
        known = self._known.get(shape)
        if known is None:
            known = len(self._known)
            if known >= _MOST_SHAPES:
                return _MOST_SHAPES
            self._known[shape] = known
        return known

    def of(self, row: int) -> str:
        """The place of the row at this position, counted from 0."""
        number, known = self._numbers[row], self._shapes[row]
        if known == _MOST_SHAPES:
            return f"row {row + 1:d} as read"
        head, rest = list(self._known)[known]
        return f"{head}, row {number}{rest}" if number else head

    def pair(self, row: int, other: int) -> str:
        """Two places, the file's name once where they share it; for one place that it was read twice."""
        shared = self._shapes[row] == self._shapes[other] != _MOST_SHAPES
        if shared and self._numbers[row] and self._numbers[other]:
            if self._numbers[row] == self._numbers[other]:
                return f"{self.of(row)}, in a data set that is named twice"
            head, rest = list(self._known)[self._shapes[row]]
            return f"{head}, rows {self._numbers[row]} and {self._numbers[other]}{rest}"
        return f"{self.of(row)} and {self.of(other)}"
