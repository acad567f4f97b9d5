"""How long the rows are that memory has to be found for."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Lengths:
    """The longest row as it is passed through the model, in tokens, and how many of them are answer.

    Rows of like length share a block, so the largest block has `longest` in each of its rows. `known`:
    whether that was read from the data, or is no more than what --max-length allows.
    """

    longest: int
    answer: int
    known: bool = False

    @classmethod
    def at_most(cls, max_length: int) -> "Lengths":
        """Nothing is known but --max-length: rows of that length, all of it answer."""
        return cls(max_length, max_length)

    @classmethod
    def of(cls, prompt: Mapping[str, float], answer: Mapping[str, float], max_length: int) -> "Lengths":
        """From the percentiles of a data report ("max" and others, in tokens); without them as `at_most`."""
        if "max" not in prompt or "max" not in answer:
            return cls.at_most(max_length)
        # A row's mismatched answer may be the longest one, behind the longest prompt.
        longest = max(2, min(max_length, int(prompt["max"] + answer["max"])))
        return cls(longest, max(1, min(longest, int(answer["max"]))), known=True)

    def cut(self, length: int) -> "Lengths":
        """The same data at another --max-length."""
        return Lengths(length, min(length, self.answer), self.known)
