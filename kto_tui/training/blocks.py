"""The block plan: which rows make up a micro-batch, in which order, and when each block's turn comes.

A block is planned once from lengths, labels and prompts alone, so that what was computed for it (the
reference's log-probs of its rows and of their mismatched answers) stays true in later epochs, under other
seeds and in other runs.
"""

import itertools
import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kto_tui.core.schedule import blocks_per_epoch

T = TypeVar("T")
Ints = NDArray[np.integer[Any]]
Labels = NDArray[np.bool_]

# On 300 real conversations (length 1024, batch 8) 97% of the rows' padded tokens are real, and 84% of the
# mismatched pairs'. Without regard to labels both are within half a percent of that.
_BITS = 5
_SLACK = 8  # A block of so many rows may have one more or less of a label than its even share.
_REACH = 8  # How many blocks away a row may be swapped to so that rows of one prompt part.


def plan_blocks(
    lengths: Ints,
    desirable: Labels,
    block_size: int,
    *,
    paired: bool,
    groups: Ints | None = None,
    prompt_lengths: Ints | None = None,
) -> list[tuple[int, ...]]:
    """The rows of each block, in the order in which their answers are rotated; each row is in one block.

    lengths: (rows,) tokens as trained on. desirable: (rows,) labels. groups: (rows,) numbers, equal for
    rows of one prompt; where it can be avoided no row is given the answer of its own prompt.
    prompt_lengths: (rows,) tokens; with them prompts followed by mismatched answers are of like length
    too, since rows of like length then share a block by their prompts, and stand in it in that order.

    Rows of like length share a block, from short ones to long ones. Each block has both labels; where
    there are fewer rows of one label than blocks, as many blocks as it has rows. `paired`: no block has a
    single row. A block that is not full is among the longest rows, an over-full one among the shortest.
    The plan depends on these arguments alone. Raises ValueError for what cannot be paired.
    """
    rows = len(lengths)
    if paired and (rows == 1 or block_size == 1):
        raise ValueError(f"{rows} rows in blocks of {block_size} cannot be paired")
    if rows == 0:
        return []
    sizes = _sizes(rows, block_size, paired)
    inner = lengths if prompt_lengths is None else prompt_lengths
    about = lengths if prompt_lengths is None else _rounded(lengths)
    blocks = _blocks_of_rows(np.lexsort((lengths, inner, about)), desirable, sizes)
    order = np.lexsort((lengths, inner, blocks)).tolist()
    ends = np.cumsum(sizes).tolist()
    plan = [order[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)]
    if paired and groups is not None:
        _part_prompts(plan, groups.tolist(), desirable.tolist(), inner.tolist())
    return [tuple(block) for block in plan]


def mismatched(answers: Sequence[T]) -> list[T]:
    """For each row of a block the answer y' of its KL pair: that of the row before it, as in TRL."""
    return [*answers[-1:], *answers[:-1]]


class EpochBlocks:
    """The blocks in an order drawn anew for each epoch: a batch sampler for torch's DataLoader.

    Each of `ranks` processes takes every so manieth block, from its own `rank` on, and as many as the others:
    the epoch's last few, which do not go round, are left out.
    """

    def __init__(self, blocks: Sequence[Sequence[int]], seed: int, rank: int = 0, ranks: int = 1) -> None:
        self._blocks = blocks
        self._seed = seed
        self._rank = rank
        self._ranks = ranks
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is, from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._blocks) // self._ranks

    def __iter__(self) -> Iterator[list[int]]:
        order = drawn_order(len(self._blocks), self._seed, self._epoch)[self._rank :: self._ranks]
        for index in order[: len(self)].tolist():
            yield list(self._blocks[index])


def drawn_order(count: int, *seeds: int) -> NDArray[np.int64]:
    """(count,) the numbers below `count` in an order drawn from the seeds, the same on every machine."""
    # NumPy promises that a bit generator's raw stream never changes, unlike that of its shuffles.
    draws = np.random.PCG64(seeds).random_raw(count)
    return np.argsort(draws, kind="stable")


def _sizes(rows: int, block_size: int, paired: bool) -> NDArray[np.int64]:
    """(blocks,) rows of each block, from the block of the shortest rows to that of the longest."""
    sizes = np.full(blocks_per_epoch(rows, block_size, paired), block_size)
    left = rows - block_size * (len(sizes) - 1)
    if left > block_size:
        sizes[0] = left
    elif left == 1 and paired:
        sizes[-2:] = block_size - 1, 2
    else:
        sizes[-1] = left
    return sizes


def _rounded(lengths: Ints) -> NDArray[np.int64]:
    """(rows,) the lengths without their lower bits: those of equal ones differ by less than a sixteenth."""
    extra_bits = np.maximum(np.frexp(lengths)[1] - _BITS, 0)
    rounded: NDArray[np.int64] = np.left_shift(np.right_shift(lengths, extra_bits), extra_bits)
    return rounded


def _blocks_of_rows(
    order: NDArray[np.int64], desirable: Labels, sizes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(rows,) the number of each row's block. order: (rows,) the rows from short to long.

    Each label's rows fill the blocks from short to long, so it only has to be settled how many rows of
    the rarer label each block gets: about its share of the rows, and within that as near as may be to what
    cutting `order` into blocks would give it.
    """
    rare = desirable if 2 * np.count_nonzero(desirable) <= len(desirable) else ~desirable
    running = np.cumsum(rare[order], dtype=np.int64)
    shares = _rare_shares(running[np.cumsum(sizes) - 1], sizes)
    blocks = np.empty(len(order), dtype=np.int64)
    numbers = np.arange(len(sizes))
    blocks[order[rare[order]]] = np.repeat(numbers, shares)
    blocks[order[~rare[order]]] = np.repeat(numbers, sizes - shares)
    return blocks


def _rare_shares(wanted: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """(blocks,) how many rows of the rarer label each block gets.

    wanted: (blocks,) how many such rows would be in the blocks up to each one without regard to labels.

    Every block with two rows or more is to have its even share of them, or up to an eighth of the block
    more or less, and between 1 and all but 1 in any case; if they do not go round, 1 or none. What both
    labels have in common cancels in the gradient of an even block, which learns faster; the slack of large
    blocks keeps their rows of like length. Taken is the highest running sum that keeps to this and is
    nowhere above `wanted`, as far as that gives all of them a place.
    """
    total = wanted[-1]
    roomy = sizes > 1
    scarce = total < np.count_nonzero(roomy)
    even, slack = np.diff(total * np.cumsum(sizes) // sizes.sum(), prepend=0), sizes // _SLACK
    least = np.cumsum(np.where(roomy & ~scarce, np.maximum(even - slack, 1), 0))
    upper = np.minimum(even + slack, np.maximum(sizes - 1, 1))
    most = np.cumsum(roomy if scarce else np.where(roomy, np.maximum(upper, 1), 1))
    from_before = np.minimum.accumulate(wanted - most) + most
    from_after = np.flip(np.minimum.accumulate(np.flip(wanted - least))) + least
    lowest = np.maximum(least, total - (most[-1] - most))
    running = np.clip(np.minimum(from_before, from_after), lowest, most)
    shares: NDArray[np.int64] = np.diff(running, prepend=0)
    return shares


def _part_prompts(plan: list[list[int]], groups: list[int], desirable: list[bool], inner: list[int]) -> None:
    """Rearrange blocks, in place, in which a row would be given an answer to its own prompt.

    Where one prompt holds more than half of a block, rows of like label are swapped with a near block.
    """
    for number, block in enumerate(plan):
        while _clashes(block, groups) and (crowd := _crowd(block, groups)) is not None:
            if not _swap_one(plan, number, crowd, groups, desirable):
                break
    for number, block in enumerate(plan):
        if _clashes(block, groups):
            plan[number] = _arranged(sorted(block, key=lambda row: (inner[row], row)), groups)


def _clashes(block: Sequence[int], groups: Sequence[int]) -> int:
    """How many rows of the block would be given an answer to their own prompt."""
    own = [groups[row] for row in block]
    return sum(map(operator.eq, own, mismatched(own)))


def _crowd(block: Sequence[int], groups: Sequence[int]) -> int | None:
    """The prompt that has too many rows in the block for any order to part them."""
    group, count = Counter(groups[row] for row in block).most_common(1)[0]
    return group if 2 * count > len(block) else None


def _swap_one(plan: list[list[int]], number: int, crowd: int, groups: list[int], labels: list[bool]) -> bool:
    """Swap a row of the prompt `crowd` for one of like label from a near block, if that crowds neither."""
    block = plan[number]
    near = (number + step for distance in range(1, _REACH + 1) for step in (distance, -distance))
    for other in (plan[place] for place in near if 0 <= place < len(plan)):
        takers = [place for place, row in enumerate(other) if groups[row] != crowd]
        if 2 * (len(other) - len(takers) + 1) > len(other):
            continue
        givers = [place for place, row in enumerate(block) if groups[row] == crowd]
        crowd_there = _crowd(other, groups)
        for giver, taker in itertools.product(givers, takers):
            if labels[block[giver]] != labels[other[taker]]:
                continue
            block[giver], other[taker] = other[taker], block[giver]
            if _crowd(other, groups) in (None, crowd_there) and _crowd(block, groups) in (None, crowd):
                return True
            block[giver], other[taker] = other[taker], block[giver]
    return False


def _arranged(block: list[int], groups: list[int]) -> list[int]:
    """The block in an order that parts rows of one prompt as far as can be, the given one if that does."""
    orders = (block, _stepwise(block, groups), _interleaved(block, groups))
    return min(orders, key=lambda order: _clashes(order, groups))


def _stepwise(block: list[int], groups: list[int]) -> list[int]:
    """Always the next row of another prompt than the one before. The last may clash with the first."""
    left = list(block)
    placed: list[int] = []
    while left:
        fits = (at for at, row in enumerate(left) if not placed or groups[row] != groups[placed[-1]])
        placed.append(left.pop(next(fits, 0)))
    return placed


def _interleaved(block: list[int], groups: list[int]) -> list[int]:
    """Prompts with many rows first, on every other place and then on those between."""
    counts = Counter(groups[row] for row in block)
    queue = sorted(block, key=lambda row: (-counts[groups[row]], groups[row]))
    placed = list(block)
    half = (len(block) + 1) // 2
    placed[::2], placed[1::2] = queue[:half], queue[half:]
    return placed
