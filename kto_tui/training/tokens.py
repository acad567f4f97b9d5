"""Rated rows as token ids."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenizedRows:
    """Rated rows as token ids, in flat arrays: a million rows cost their tokens and little more.

    ids: (tokens,) each row's prompt, then its completion, row after row.
    starts: (rows + 1,) where each row begins in `ids`; the last one is where all end.
    prompt_lengths: (rows,) how many of a row's ids are its prompt.
    desirable: (rows,) the labels.

    A map-style data set for torch's DataLoader.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    prompt_lengths: NDArray[np.int32]
    desirable: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Iterable[tuple[Sequence[int], Sequence[int], bool]]) -> "TokenizedRows":
        """From (prompt ids, completion ids, desirable) of each row."""
        ids, ends, prompts, labels = array("i"), array("q", [0]), array("i"), array("b")
        for prompt, completion, desirable in rows:
            ids.extend(prompt)
            ids.extend(completion)
            ends.append(len(ids))
            prompts.append(len(prompt))
            labels.append(desirable)
        return cls(
            np.asarray(ids, dtype=np.int32),
            np.asarray(ends, dtype=np.int64),
            np.asarray(prompts, dtype=np.int32),
            np.asarray(labels, dtype=np.bool_),
        )

    def __len__(self) -> int:
        return len(self.desirable)

    def prompt(self, row: int) -> NDArray[np.int32]:
        """The ids of the row's prompt: a view."""
        start = self.starts[row]
        return self.ids[start : start + self.prompt_lengths[row]]

    def completion(self, row: int) -> NDArray[np.int32]:
        """The ids of the row's answer: a view."""
        return self.ids[self.starts[row] + self.prompt_lengths[row] : self.starts[row + 1]]

    @property
    def completion_lengths(self) -> NDArray[np.int64]:
        """(rows,) tokens of the answers, uncut."""
        return self.starts[1:] - self.starts[:-1] - self.prompt_lengths

    def lengths(self, max_length: int) -> NDArray[np.int64]:
        """(rows,) tokens of prompt and answer as trained on, cut to `max_length`."""
        lengths: NDArray[np.int64] = np.diff(self.starts)
        return np.clip(lengths, 0, max_length)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """The row as a collator takes it. Raises IndexError for one that is not there."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return {
            "prompt_ids": self.prompt(row),
            "completion_ids": self.completion(row),
            "label": bool(self.desirable[row]),
            "number": row,
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.__getitem__, range(len(self)))

    def subset(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> "TokenizedRows":
        """These rows alone, in this order: a copy."""
        chosen = np.asarray(rows, dtype=np.int64)
        lengths = np.diff(self.starts)[chosen]
        starts = np.concatenate(([0], np.cumsum(lengths)))
        # All tokens of a row move by one distance, so each source is the new place plus the row's distance.
        distances = self.starts[:-1][chosen] - starts[:-1]
        sources = np.arange(starts[-1]) + np.repeat(distances, lengths)
        return TokenizedRows(self.ids[sources], starts, self.prompt_lengths[chosen], self.desirable[chosen])
