"""How many rows of each class a data set holds, and how long they are."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """A row's text about as a chat template makes it, for whoever counts its tokens."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Rated rows by their label, and the most bytes (UTF-8) of a row's text, and of its answer alone.

    `longest`: the rows of the most bytes.
    """

    desirable: int = 0
    undesirable: int = 0
    longest_bytes: int = 0
    longest_answer_bytes: int = 0
    longest: tuple[Sample, ...] = field(default=(), compare=False)

    @property
    def total(self) -> int:
        return self.desirable + self.undesirable
