"""What stands more than once: rows, prompts, answers. Sorted arrays of numbers, no text."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kto_tui.data.survey.survey import EXAMPLES, RowSurvey, pairs_of

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Repeats:
    """Row numbers from 0. `repeated`: (rows,) those whose prompt, answer and label an earlier row has.
    A row that was taken again from the same place, by the weight of its data set, is none of them; one of
    a data set that is named twice is.

    `contradicting`: (rows,) those whose prompt and answer another row has with the other label, the first
    of each label only. `repeats` and `contradictions` name a few as (row, its other).
    `both_labels`: prompts with desirable and with undesirable answers; `most_said`: how many different
    prompts the commonest answer stands under, and its first rows.
    """

    repeated: Mask
    contradicting: Mask
    repeats: list[tuple[int, int]]
    contradictions: list[tuple[int, int]]
    both_labels: int
    both_labels_rows: int
    most_said: int
    most_said_rows: list[int]


def find_repeats(survey: RowSurvey) -> Repeats:
    """All of it. Takes time and memory for a few sorts of the rows' numbers."""
    prompts, answers, labels = survey.prompts, survey.answers, survey.labels
    pairs = pairs_of(prompts, answers)
    keys = pairs ^ np.where(labels, np.uint64(0xA5A5A5A5A5A5A5A5), np.uint64(0))
    once = _once(keys)
    contradicting, contradictions = _contradicting(pairs, labels, once)
    whole = np.flatnonzero(once & ~contradicting)
    both, rows = _mixed(prompts[whole], labels[whole])
    most, said = _most_said(answers, pairs)
    repeated = ~once
    if repeated.any() and not survey.each_once:
        repeated &= _once(keys * np.uint64(0x9E3779B97F4A7C15) + survey.places)
    firsts = _with_firsts(keys, repeated)
    return Repeats(repeated, contradicting, firsts, contradictions, both, rows, most, said)


def _groups(keys: NDArray[np.uint64]) -> tuple[Rows, Rows]:
    """(the rows in the order of their keys, where in it each group of equal keys begins); stable."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(keys) else np.zeros(0, np.int64)
    return order, starts


def _once(keys: NDArray[np.uint64]) -> Mask:
    """(rows,) whether no earlier row has the same key."""
    order, starts = _groups(keys)
    once = np.zeros(len(keys), dtype=np.bool_)
    once[order[starts]] = True
    return once


def _with_firsts(keys: NDArray[np.uint64], repeated: Mask) -> list[tuple[int, int]]:
    rows = np.flatnonzero(repeated)[:EXAMPLES].tolist()
    return [(int(np.flatnonzero(keys == keys[row])[0]), row) for row in rows]


def _contradicting(pairs: NDArray[np.uint64], labels: Mask, once: Mask) -> tuple[Mask, list[tuple[int, int]]]:
    """Once each row stands for its label alone, a pair that is there twice has both labels."""
    rows = np.flatnonzero(once)
    order, starts = _groups(pairs[rows])
    sizes = np.diff(np.r_[starts, len(rows)])
    twice = starts[sizes == 2]
    contradicting = np.zeros(len(labels), dtype=np.bool_)
    couples = np.stack([rows[order[twice]], rows[order[twice + 1]]], axis=1)
    contradicting[couples.ravel()] = True
    couples = couples[np.argsort(couples[:, 0])]
    return contradicting, [(first, other) for first, other in couples[:EXAMPLES].tolist()]


def _mixed(prompts: NDArray[np.uint64], labels: Mask) -> tuple[int, int]:
    """(prompts that have rows of both labels, their rows)."""
    if not len(prompts):
        return 0, 0
    order, starts = _groups(prompts)
    sizes = np.diff(np.r_[starts, len(prompts)])
    good = np.add.reduceat(labels[order].astype(np.int64), starts)
    mixed = (good > 0) & (good < sizes)
    return int(mixed.sum()), int(sizes[mixed].sum())


def _most_said(answers: NDArray[np.uint64], pairs: NDArray[np.uint64]) -> tuple[int, list[int]]:
    if not len(answers):
        return 0, []
    order, starts = _groups(pairs)
    once = np.sort(order[starts])
    order, starts = _groups(answers[once])
    sizes = np.diff(np.r_[starts, len(once)])
    commonest = int(np.argmax(sizes))
    rows = once[order[starts[commonest] :][: min(EXAMPLES, sizes[commonest])]]
    return int(sizes[commonest]), rows.tolist()
