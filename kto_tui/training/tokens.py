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

    ids: (tokens,) of all rows; it may lie on disk and be mapped.
    begins: (rows,) where each row begins in `ids`: its prompt, then its completion.
    sizes: (rows,) how many ids each row has.
    prompt_lengths: (rows,) how many of them are its prompt.
    desirable: (rows,) the labels.

    A map-style data set for torch's DataLoader.
    """

    ids: NDArray[np.int32]
    begins: NDArray[np.int64]
    sizes: NDArray[np.int32]
    prompt_lengths: NDArray[np.int32]
    desirable: NDArray[np.bool_]

    @classmethod
    def in_order(
        cls,
        ids: NDArray[np.int32],
        sizes: NDArray[np.int32],
        prompt_lengths: NDArray[np.int32],
        desirable: NDArray[np.bool_],
    ) -> "TokenizedRows":
        """Rows that lie in `ids` one after the other."""
        begins = np.cumsum(sizes, dtype=np.int64) - sizes
        return cls(ids, begins, sizes, prompt_lengths, desirable)

    @classmethod
    def of(cls, rows: Iterable[tuple[Sequence[int], Sequence[int], bool]]) -> "TokenizedRows":
        """From (prompt ids, completion ids, desirable) of each row."""
        ids, sizes, prompts, labels = array("i"), array("i"), array("i"), array("b")
        for prompt, completion, desirable in rows:
            ids.extend(prompt)
            ids.extend(completion)
            sizes.append(len(prompt) + len(completion))
            prompts.append(len(prompt))
            labels.append(desirable)
        return cls.in_order(
            np.asarray(ids, dtype=np.int32),
            np.asarray(sizes, dtype=np.int32),
            np.asarray(prompts, dtype=np.int32),
            np.asarray(labels, dtype=np.bool_),
        )

    def __len__(self) -> int:
        return len(self.desirable)

    def row(self, row: int) -> NDArray[np.int32]:
        """The ids of the row's prompt and answer: a view."""
        return self.ids[self.begins[row] : self.begins[row] + self.sizes[row]]

    def prompt(self, row: int) -> NDArray[np.int32]:
        """The ids of the row's prompt: a view."""
        return self.row(row)[: self.prompt_lengths[row]]

    def completion(self, row: int) -> NDArray[np.int32]:
        """The ids of the row's answer: a view."""
        return self.row(row)[self.prompt_lengths[row] :]

    @property
    def completion_lengths(self) -> NDArray[np.int64]:
        """(rows,) tokens of the answers, uncut."""
        return (self.sizes - self.prompt_lengths).astype(np.int64)

    def lengths(self, max_length: int) -> NDArray[np.int64]:
        """(rows,) tokens of prompt and answer as trained on, cut to `max_length`."""
        return np.minimum(self.sizes, max_length).astype(np.int64)

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
        """These rows alone, in this order: a view of the same ids."""
        chosen = np.asarray(rows, dtype=np.int64)
        return TokenizedRows(
            self.ids,
            self.begins[chosen],
            self.sizes[chosen],
            self.prompt_lengths[chosen],
            self.desirable[chosen],
        )
