"""A block of rows as tensors: what one micro-batch holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kto_tui.training.reference import block_key

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Sequences:
    """Prompts with an answer each, padded on the right.

    `input_ids`: (rows, tokens); `prompt_lengths` and `lengths` (prompt and answer): (rows,).
    """

    input_ids: Tensor
    prompt_lengths: Tensor
    lengths: Tensor

    def take(self, rows: Tensor) -> "Sequences":
        """Those rows, without padding that none of them needs."""
        lengths = self.lengths[rows]
        return Sequences(self.input_ids[rows, : int(lengths.max())], self.prompt_lengths[rows], lengths)

    @classmethod
    def joined(cls, parts: "Sequence[Sequences]") -> "Sequences":
        """All rows of the parts, one part after the other. What stands in the padding is never looked at."""
        width = max(part.input_ids.shape[1] for part in parts)
        padded = [torch.nn.functional.pad(p.input_ids, (0, width - p.input_ids.shape[1])) for p in parts]
        return cls(
            torch.cat(padded),
            torch.cat([part.prompt_lengths for part in parts]),
            torch.cat([part.lengths for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class Block:
    """One micro-batch: rated rows, and their prompts with answers that belong to others (where needed).

    `desirable`: (rows,) bool. `numbers`: (rows,) which rows of the data they are. `key` names the tokens
    for the reference cache; `tokens`: all of its rows' own, without padding. The rest is filled in as it is
    known: reference log-probabilities of both, (rows,) in nats; the reference point z, (); and `share`, the
    part of the optimizer step that each of its rows has, times the rows of the block.
    """

    own: Sequences
    desirable: Tensor
    numbers: Tensor
    key: bytes
    tokens: int
    mismatched: Sequences | None = None
    ref_logps: Tensor | None = None
    ref_kl_logps: Tensor | None = None
    reference_point: Tensor | None = None
    share: float = 1.0

    def __len__(self) -> int:
        return len(self.desirable)

    def parts(self, rows: int) -> "list[Block]":
        """The block in pieces of at most so many rows."""
        if len(self) <= rows:
            return [self]
        every = torch.arange(len(self), device=self.desirable.device)
        return [self.take(chosen) for chosen in torch.split(every, rows)]

    def take(self, rows: Tensor) -> "Block":
        return replace(
            self,
            own=self.own.take(rows),
            desirable=self.desirable[rows],
            numbers=self.numbers[rows],
            mismatched=self.mismatched and self.mismatched.take(rows),
            ref_logps=None if self.ref_logps is None else self.ref_logps[rows],
            ref_kl_logps=None if self.ref_kl_logps is None else self.ref_kl_logps[rows],
            share=self.share * len(rows) / len(self),
        )

    def to(self, device: torch.device) -> "Block":
        """The same on another device."""
        moved = _moved(self, device)
        assert isinstance(moved, Block)
        return moved


def _moved(item: Any, device: torch.device) -> Any:
    moved = {}
    for entry in fields(item):
        value = getattr(item, entry.name)
        if isinstance(value, Tensor):
            moved[entry.name] = value.to(device, non_blocking=True)
        elif isinstance(value, Sequences):
            moved[entry.name] = _moved(value, device)
    return replace(item, **moved)


@dataclass(frozen=True)
class Collator:
    """Rows, {"prompt_ids", "completion_ids", "label", "number"}, to a Block.

    Prompt and answer are cut to `max_length` tokens from the end, as TRL does; the mismatched answer of a row
    is the whole answer of the row before it, cut likewise. `paired` is whether those are needed.
    """

    pad_token_id: int
    max_length: int
    paired: bool

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Block:
        prompts = [row["prompt_ids"] for row in rows]
        answers = [row["completion_ids"] for row in rows]
        own = self._sequences(prompts, answers)
        others = self._sequences(prompts, [answers[-1], *answers[:-1]]) if self.paired else None
        return Block(
            own=own,
            desirable=torch.tensor([bool(row["label"]) for row in rows]),
            numbers=torch.tensor([int(row["number"]) for row in rows]),
            key=self.key(rows),
            tokens=int(own.lengths.sum()),
            mismatched=others,
        )

    def key(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        """The name of these rows' tokens, in this order, as cut here."""
        parts = [row[name] for row in rows for name in ("prompt_ids", "completion_ids")]
        sizes = np.array([self.max_length, self.paired, *map(len, parts)], dtype=np.int64)
        return block_key(sizes, np.concatenate(parts))

    def _sequences(self, prompts: Sequence[Ids], answers: Sequence[Ids]) -> Sequences:
        whole = [np.concatenate(pair)[: self.max_length] for pair in zip(prompts, answers, strict=True)]
        ids = np.full((len(whole), max(map(len, whole))), self.pad_token_id, dtype=np.int64)
        for row, tokens in zip(ids, whole, strict=True):
            row[: len(tokens)] = tokens
        return Sequences(
            torch.from_numpy(ids),
            torch.tensor([len(prompt) for prompt in prompts]),
            torch.tensor([len(tokens) for tokens in whole]),
        )
