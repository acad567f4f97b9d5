"""How many rows of each class a data set holds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Rated rows by their label."""

    desirable: int = 0
    undesirable: int = 0

    @property
    def total(self) -> int:
        return self.desirable + self.undesirable
