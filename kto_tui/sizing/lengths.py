"""How long the rows are that memory has to be found for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kto_tui.core.counts import Counts

_TOKENS_A_BYTE = 0.5  # At most, in nearly all text: English has a quarter, Chinese a quarter to a half.
_SYSTEM_PROMPT = 48  # Tokens that some templates add by themselves, at most.


@dataclass(frozen=True)
class Lengths:
    """The longest row as it is passed through the model, in tokens, and how many of them are answer.

    Rows of like length share a block, so the largest block has `longest` in each of its rows. `origin`: what
    that was taken from: tokens that were counted, all or those of the longest rows, the bytes of the data's
    text, or --max-length alone.
    """

    longest: int
    answer: int
    origin: Literal["tokens", "sampled", "bytes", "max_length"] = "max_length"

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
        return cls(longest, max(1, min(longest, int(answer["max"]))), "tokens")

    @classmethod
    def of_text(cls, counts: Counts, max_length: int, tokens_a_byte: float | None = None) -> "Lengths":
        """Before all is tokenized; without any text as `at_most`.

        `tokens_a_byte`: at most, in the longest rows, by the model's tokenizer; None where it is not known.
        """
        if not counts.longest_bytes:
            return cls.at_most(max_length)
        share, more = (_TOKENS_A_BYTE, 2) if tokens_a_byte is None else (tokens_a_byte, _SYSTEM_PROMPT)
        sizes = counts.longest_bytes, counts.longest_answer_bytes
        longest, answer = (min(max_length, math.ceil(size * share) + more) for size in sizes)
        return cls(longest, min(longest, answer), "bytes" if tokens_a_byte is None else "sampled")

    def cut(self, length: int) -> "Lengths":
        """The same data at another --max-length."""
        return Lengths(length, min(length, self.answer), self.origin)
