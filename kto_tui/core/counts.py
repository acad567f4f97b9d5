"""How many rows of each class a data set holds, and how long they are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Rated rows by their label, and the most bytes (UTF-8) of a row's text, and of its answer alone."""

    desirable: int = 0
    undesirable: int = 0
    longest_bytes: int = 0
    longest_answer_bytes: int = 0

    @property
    def total(self) -> int:
        return self.desirable + self.undesirable
