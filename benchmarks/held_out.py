"""Adapters judged by rows that none of them has seen: one row at a time, so that nothing is padded.

In plain code that shares nothing with either trainer but PEFT and the data.
"""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.child import serve
from benchmarks.verdicts import Judging, Verdict, Verdicts
from kto_tui.data import Columns, load_rows
from kto_tui.training.auc import auc
from kto_tui.training.dataset import tokenize_row

Pair = tuple[list[int], list[int]]


def judge(judging: Judging) -> Verdicts:
    """All adapters against one reference, computed once. Each answer stands in for the next row's."""
    tokenizer = AutoTokenizer.from_pretrained(judging.model, local_files_only=True)
    rows = list(load_rows(judging.dataset, Columns()))
    matched = [tokenize_row(row, tokenizer)[:2] for row in rows]
    others = matched[-1:] + matched[:-1]
    mismatched = [(prompt, other) for (prompt, _), (_, other) in zip(matched, others, strict=True)]
    pairs = [*matched, *mismatched]
    desirable = torch.tensor([row.label for row in rows])
    base: Any = AutoModelForCausalLM.from_pretrained(
        judging.model, dtype=torch.float32, local_files_only=True
    )
    reference = log_probabilities(base.eval(), pairs, judging.max_length)
    verdicts = []
    for adapter in judging.adapters:
        model = PeftModel.from_pretrained(base, adapter).eval()
        ratios = log_probabilities(model, pairs, judging.max_length) - reference
        verdicts.append(verdict(ratios[: len(rows)], ratios[len(rows) :], desirable, judging.beta))
        base = model.unload()
    return Verdicts(verdicts=verdicts)


def log_probabilities(model: Any, pairs: Sequence[Pair], max_length: int) -> torch.Tensor:
    """(pairs,) in nats: of each answer after its prompt, both cut off at `max_length` tokens together."""
    with torch.no_grad():
        return torch.stack([_of_one(model, prompt, answer, max_length) for prompt, answer in pairs])


def _of_one(model: Any, prompt: list[int], answer: list[int], max_length: int) -> torch.Tensor:
    ids = torch.tensor([(prompt + answer)[:max_length]])
    targets = ids[0, len(prompt) :]
    # The logits at the prompt's last token are those of the answer's first.
    logits: torch.Tensor = model(input_ids=ids, logits_to_keep=len(targets) + 1).logits[0, :-1]
    of_targets = logits.float().log_softmax(-1).gather(-1, targets[:, None])
    return of_targets.sum(dtype=torch.float64)


def verdict(matched: torch.Tensor, mismatched: torch.Tensor, desirable: torch.Tensor, beta: float) -> Verdict:
    """matched, mismatched: (rows,) log-ratios in nats; desirable: (rows,) bool. Both labels weigh alike."""
    z = mismatched.mean().clamp(min=0)
    value = torch.where(desirable, beta * (matched - z), beta * (z - matched)).sigmoid()
    rewards = beta * matched
    separation = auc(rewards.numpy(), desirable.numpy())
    assert separation is not None, "the held-out rows are all of one label"
    return Verdict(
        loss=float((1 - value).mean()),
        margin=float(rewards[desirable].mean() - rewards[~desirable].mean()),
        auc=separation,
        kl=float(z),
    )


if __name__ == "__main__":
    serve(judge, Judging)
