"""What a block needs from the models: the policy's and the reference's log-probabilities."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from kto_tui.core.errors import one_line
from kto_tui.training.batches import Block, Sequences
from kto_tui.training.grouping import alike, in_order
from kto_tui.training.optional import given
from kto_tui.training.recovery import is_out_of_memory
from kto_tui.training.reference import ReferenceCache
from kto_tui.training.scoring import Scorer, Scores
from kto_tui.training.shared_prompt import agree, follow_on

logger = logging.getLogger(__name__)


class Passes:
    """The passes through policy and reference, most of them without gradient.

    `policy` and `as_reference` give the scorers of both, the latter in a context. `shares_prompts`: whether
    mismatched answers are scored after the prompts' own pass; dropped at the first sight of a difference.
    """

    def __init__(
        self,
        policy: Callable[[], Scorer],
        as_reference: Callable[[], AbstractContextManager[Scorer]],
        cache: ReferenceCache | None,
        *,
        shares_prompts: bool,
    ) -> None:
        self._policy = policy
        self._as_reference = as_reference
        self._cache = cache
        self.shares_prompts = shares_prompts
        self._proven = False

    def with_reference(self, block: Block, rows: int) -> Block:
        """The block with the reference's log-probabilities, known or made in parts of so many rows."""
        known = self._cache.get(block.key) if self._cache is not None else None
        if known is None:
            with torch.no_grad(), self._as_reference() as reference, reference.evaluating():
                made = self._both(reference, block, rows)
            known = np.concatenate([logps.float().cpu().numpy() for logps in made])
            if self._cache is not None:
                self._cache.put(block.key, known)
        values = torch.from_numpy(known).to(block.desirable.device)
        own, *others = torch.split(values, len(block))
        return replace(block, ref_logps=own, ref_kl_logps=others[0] if others else None)

    def policy(self, block: Block, rows: int) -> list[Tensor]:
        """Without gradient and dropout: (rows,) log π of the own answers, and of the mismatched if needed."""
        policy = self._policy()
        with torch.no_grad(), policy.evaluating():
            return self._both(policy, block, rows)

    def policy_mismatched(self, blocks: Sequence[Block], rows: int) -> list[Tensor]:
        """Of each block: (rows,) log π of its mismatched answers, without gradient and dropout.

        Pairs of like length go together, whichever block they are of.
        """
        policy = self._policy()
        every = Sequences.joined([block.mismatched for block in blocks if block.mismatched])
        groups = alike(every.lengths, rows)
        with torch.no_grad(), policy.evaluating():
            made = [given(policy.score(every.take(group)).logps) for group in groups]
        return list(torch.split(in_order(made, groups), [len(block) for block in blocks]))

    def _both(self, scorer: Scorer, block: Block, rows: int) -> list[Tensor]:
        groups = alike(block.own.lengths, rows)
        made = [self._both_at_once(scorer, block.take(group)) for group in groups]
        return [in_order(column, groups) for column in zip(*made, strict=True)]

    def _both_at_once(self, scorer: Scorer, block: Block) -> list[Tensor]:
        scores = scorer.score(block.own, keep=self.shares_prompts and block.mismatched is not None)
        if block.mismatched is None:
            return [given(scores.logps)]
        return [given(scores.logps), self.mismatched(scorer, block.mismatched, scores)]

    def mismatched(self, scorer: Scorer, sequences: Sequences, scores: Scores) -> Tensor:
        """(rows,) log-probabilities of mismatched answers, after their prompts' own pass gave `scores`.

        The first time both ways are gone, and the shared one is dropped for good unless they agree.
        """
        shared = self._shared(scorer, sequences, scores) if self.shares_prompts else None
        if shared is not None and self._proven:
            return shared
        with torch.no_grad():
            plain = given(scorer.score(sequences).logps)
        if shared is None or not agree(shared, plain, sequences, scorer.base.dtype):
            self.shares_prompts = False
            return plain
        # Answers of a single token are told by the prompt's own pass alone.
        self._proven = bool((sequences.lengths - sequences.prompt_lengths > 1).any())
        return shared

    def _shared(self, scorer: Scorer, sequences: Sequences, scores: Scores) -> Tensor | None:
        """The shared way; an architecture that cannot go it says so at the first try, in its own words."""
        if self._proven:
            return follow_on(scorer, sequences, scores)
        try:
            return follow_on(scorer, sequences, scores)
        except (AttributeError, IndexError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and is_out_of_memory(error):
                raise
            logger.info("mismatched answers are scored with their whole prompts: %s", one_line(error))
            return None
