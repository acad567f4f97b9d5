"""The block plan's promises, for any rows; and the same asked of TRL's own preparation, which breaks them."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from trl import KTOConfig, KTOTrainer

from kto_tui.core.schedule import blocks_per_epoch
from kto_tui.training.blocks import EpochBlocks, drawn_order, mismatched, plan_blocks
from kto_tui.training.tiny import build_model, build_tokenizer

Blocks = Sequence[Sequence[int]]

# A busy machine fails no test, and each run of the tests tries the same rows.
steady = settings(deadline=None, derandomize=True, database=None)


@st.composite
def rows(draw: st.DrawFn, least: int = 2) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Lengths and labels; also all of one length, of one label, or one label's rows the shorter ones."""
    count = draw(st.integers(least, 70))
    lengths = draw(
        st.lists(st.integers(1, draw(st.sampled_from([1, 9, 2048]))), min_size=count, max_size=count)
    )
    share = draw(st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]))
    labels = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=count, max_size=count))
    if draw(st.booleans()):
        lengths, labels = sorted(lengths), sorted(labels, reverse=draw(st.booleans()))
    return np.array(lengths, dtype=np.int64), np.array(labels) < share


def has_both(block: Sequence[int], desirable: NDArray[np.bool_]) -> bool:
    return len({bool(desirable[row]) for row in block}) == 2


def pairs_with_itself(block: Sequence[int]) -> bool:
    return any(row == other for row, other in zip(block, mismatched(block), strict=True))


def clashes(block: Sequence[int], groups: NDArray[np.int64]) -> int:
    return sum(groups[row] == groups[other] for row, other in zip(block, mismatched(block), strict=True))


def real_share(plan: Blocks, lengths: NDArray[np.int64]) -> float:
    """Real tokens over padded ones."""
    return float(lengths.sum() / sum(len(block) * lengths[list(block)].max() for block in plan))


@steady
@given(data=rows(), size=st.integers(2, 17))
def test_every_row_has_one_place_and_none_is_alone(
    data: tuple[NDArray[np.int64], NDArray[np.bool_]], size: int
) -> None:
    lengths, desirable = data
    plan = plan_blocks(lengths, desirable, size, paired=True)
    assert sorted(row for block in plan for row in block) == list(range(len(lengths)))
    assert len(plan) == blocks_per_epoch(len(lengths), size, True)
    assert not any(map(pairs_with_itself, plan))
    assert sum(len(block) != size for block in plan) <= (2 if len(lengths) % size == 1 else 1)
    assert max(map(len, plan)) <= (3 if size == 2 else size)


@steady
@given(data=rows(least=0), size=st.integers(1, 9))
def test_without_pairs_a_row_may_be_alone(
    data: tuple[NDArray[np.int64], NDArray[np.bool_]], size: int
) -> None:
    lengths, desirable = data
    plan = plan_blocks(lengths, desirable, size, paired=False)
    assert sorted(row for block in plan for row in block) == list(range(len(lengths)))
    assert len(plan) == blocks_per_epoch(len(lengths), size, False)
    assert [len(block) for block in plan[:-1]] == [size] * (len(plan) - 1)


@steady
@given(data=rows(), size=st.integers(2, 17), paired=st.booleans())
def test_as_many_blocks_as_can_have_both_labels(
    data: tuple[NDArray[np.int64], NDArray[np.bool_]], size: int, paired: bool
) -> None:
    lengths, desirable = data
    plan = plan_blocks(lengths, desirable, size, paired=paired)
    with_room = sum(len(block) > 1 for block in plan)
    rarer = min(np.count_nonzero(desirable), np.count_nonzero(~desirable))
    assert sum(has_both(block, desirable) for block in plan) == min(with_room, rarer)


@steady
@given(data=rows(), size=st.integers(2, 9), seed=st.integers(0, 9))
def test_a_plan_depends_on_the_rows_and_not_on_their_places(
    data: tuple[NDArray[np.int64], NDArray[np.bool_]], size: int, seed: int
) -> None:
    lengths, desirable = data
    lengths = lengths * 1000 + np.arange(len(lengths))  # Without ties.
    moved = np.random.default_rng(seed).permutation(len(lengths))
    plan = plan_blocks(lengths, desirable, size, paired=True)
    again = plan_blocks(lengths[moved], desirable[moved], size, paired=True)
    assert [tuple(moved[list(block)].tolist()) for block in again] == plan


@steady
@given(data=rows(least=4), size=st.integers(2, 9), per_prompt=st.integers(1, 3))
def test_an_answer_goes_to_another_prompt_within_a_block_that_allows_it(
    data: tuple[NDArray[np.int64], NDArray[np.bool_]], size: int, per_prompt: int
) -> None:
    lengths, desirable = data
    groups = np.arange(len(lengths)) // per_prompt
    plan = plan_blocks(lengths, desirable, size, paired=True, groups=groups)
    assert sorted(row for block in plan for row in block) == list(range(len(lengths)))
    rarer = min(np.count_nonzero(desirable), np.count_nonzero(~desirable))
    assert sum(has_both(block, desirable) for block in plan) == min(len(plan), rarer)
    for block in plan:
        most = np.bincount(groups[list(block)]).max()
        assert clashes(block, groups) == 0 or 2 * most > len(block)


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_two_answers_to_one_prompt_are_parted(size: int) -> None:
    """Both of a prompt's answers are of one length here, so that plain sorting puts them side by side."""
    groups = np.arange(400) // 2
    lengths, desirable = 100 + groups, np.arange(400) % 2 == 0
    plain = plan_blocks(lengths, desirable, size, paired=True)
    plan = plan_blocks(lengths, desirable, size, paired=True, groups=groups)
    assert sum(clashes(block, groups) for block in plain) > 50
    assert sum(clashes(block, groups) for block in plan) == 0
    assert all(has_both(block, desirable) for block in plan)


@pytest.mark.parametrize("prompts", [3, 4])
def test_few_prompts_are_parted_in_every_block(prompts: int) -> None:
    random = np.random.default_rng(5)
    groups, desirable = random.integers(0, prompts, 600), random.random(600) < 0.5
    plan = plan_blocks(np.arange(600), desirable, 4, paired=True, groups=groups)
    assert sum(clashes(block, groups) for block in plan) == 0
    assert all(has_both(block, desirable) for block in plan)


def test_one_prompt_for_all_rows_still_makes_a_plan() -> None:
    plan = plan_blocks(np.arange(30), np.arange(30) % 2 == 0, 4, paired=True, groups=np.zeros(30, dtype=int))
    assert len(plan) == 8


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (8, 4, [4, 4]),
        (6, 4, [4, 2]),
        (9, 4, [4, 3, 2]),
        (5, 4, [3, 2]),
        (7, 3, [3, 2, 2]),
        (7, 2, [3, 2, 2]),
        (3, 8, [3]),
    ],
)
def test_short_blocks_hold_the_longest_rows_and_a_full_one_more_the_shortest(
    count: int, size: int, sizes: list[int]
) -> None:
    plan = plan_blocks(np.arange(count), np.zeros(count, dtype=bool), size, paired=True)
    assert list(map(len, plan)) == sizes
    assert [row for block in plan for row in block] == list(range(count))


@pytest.mark.parametrize(("count", "size"), [(1, 4), (4, 1)])
def test_what_cannot_be_paired_is_refused(count: int, size: int) -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        plan_blocks(np.ones(count, dtype=int), np.ones(count, dtype=bool), size, paired=True)


def realistic(count: int, desirable: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Lengths of prompts and of whole rows as conversations have them, up to 1024; and labels."""
    random = np.random.default_rng(0)
    prompts = np.clip(random.lognormal(5.0, 1.0, count), 5, 1000).astype(np.int64)
    answers = np.clip(random.lognormal(5.2, 0.9, count), 2, None).astype(np.int64)
    return prompts, np.minimum(prompts + answers, 1024), random.random(count) < desirable


@pytest.mark.parametrize("desirable", [0.5, 0.9, 0.99])
def test_hardly_any_of_a_block_is_padding(desirable: float) -> None:
    prompts, lengths, labels = realistic(400, desirable)
    plan = plan_blocks(lengths, labels, 8, paired=True, prompt_lengths=prompts)
    as_they_come = [tuple(range(start, start + 8)) for start in range(0, 400, 8)]
    assert real_share(plan, lengths) > 0.95
    assert real_share(as_they_come, lengths) < 0.65


def mismatched_share(plan: Blocks, prompts: NDArray[np.int64], lengths: NDArray[np.int64]) -> float:
    """Real tokens over padded ones, of prompts with the answers of others."""
    answers = lengths - prompts
    mixed = np.empty_like(lengths)
    for block in plan:
        mixed[list(block)] = prompts[list(block)] + answers[mismatched(block)]
    return real_share(plan, mixed)


def test_prompts_with_answers_of_others_are_of_like_length_too() -> None:
    prompts, lengths, labels = realistic(4000, 0.5)
    plain = plan_blocks(lengths, labels, 8, paired=True)
    plan = plan_blocks(lengths, labels, 8, paired=True, prompt_lengths=prompts)
    assert mismatched_share(plain, prompts, lengths) < 0.75
    assert mismatched_share(plan, prompts, lengths) > 0.88


@pytest.mark.parametrize(("block_size", "within"), [(4, 0), (6, 0), (8, 1), (16, 2)])
@pytest.mark.parametrize("share", [0.5, 0.3])
def test_labels_are_mixed_evenly(block_size: int, within: int, share: float) -> None:
    """What the labels have in common then cancels in each gradient."""
    prompts, lengths, labels = realistic(2400, share)
    plan = plan_blocks(lengths, labels, block_size, paired=True, prompt_lengths=prompts)
    even = block_size * float(labels.mean())
    found = [int(labels[list(block)].sum()) for block in plan]
    assert min(found) >= max(1, math.floor(even) - within)
    assert max(found) <= min(block_size - 1, math.ceil(even) + within)


def test_parting_prompts_costs_little_padding() -> None:
    """Two answers of one length to each prompt; merely put on every other place, 0.80 would be real."""
    prompts, lengths = (np.repeat(part, 2).astype(np.int64) for part in realistic(2000, 0.5)[:2])
    labels, groups = np.arange(4000) % 2 == 0, np.arange(4000) // 2
    plan = plan_blocks(lengths, labels, 16, paired=True, prompt_lengths=prompts, groups=groups)
    assert sum(clashes(block, groups) for block in plan) == 0
    assert mismatched_share(plan, prompts, lengths) > 0.83


@pytest.mark.parametrize("size", [2, 16])
@pytest.mark.parametrize("desirable", [0.5, 0.99])
def test_many_rows_are_planned_in_no_time(size: int, desirable: float) -> None:
    """About 0.3 s of processor time; what grows with the square of the rows would take hours."""
    prompts, lengths, labels = realistic(200_000, desirable)
    groups = np.arange(200_000) // 2
    began = time.process_time()
    plan = plan_blocks(lengths, labels, size, paired=True, groups=groups, prompt_lengths=prompts)
    assert time.process_time() - began < 20
    assert len(plan) == blocks_per_epoch(200_000, size, True)


def test_mismatched_takes_the_answer_of_the_row_before() -> None:
    assert mismatched("abcd") == ["d", "a", "b", "c"]
    assert mismatched(range(2)) == [1, 0]
    assert mismatched([]) == []


def test_the_order_of_an_epoch_is_drawn_from_seed_and_epoch() -> None:
    blocks = [(n, n + 1) for n in range(0, 60, 2)]
    sampler, again = EpochBlocks(blocks, seed=1), EpochBlocks(blocks, seed=1)
    first = list(sampler)
    assert len(sampler) == len(first) == 30
    assert first == list(sampler) == list(again)
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    assert sorted(map(tuple, first)) == sorted(map(tuple, second)) == blocks
    assert list(EpochBlocks(blocks, seed=2)) != first
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_a_drawn_order_never_changes() -> None:
    assert drawn_order(8, 42, 0).tolist() == [4, 1, 3, 6, 0, 7, 2, 5]


# The same asked of TRL: the first half of each test shows where it breaks what the second half holds us to.


class Trl(KTOTrainer):  # type: ignore[misc]
    """TRL's trainer as it comes, but for what it reports to its makers."""

    def _send_telemetry(self) -> None: ...


def trl(folder: Path, dataset: Dataset, **changes: Any) -> Trl:
    options = {"per_device_train_batch_size": 4, "use_cpu": True, "report_to": "none", "max_length": 64}
    arguments = KTOConfig(output_dir=str(folder), **{**options, **changes})
    tokenizer = build_tokenizer()
    model, reference = build_model(tokenizer), build_model(tokenizer)
    return Trl(model, reference, arguments, train_dataset=dataset, processing_class=tokenizer)


def rated(count: int) -> Dataset:
    rows = [{"prompt": f"p{n} ", "completion": f"a{n}", "label": n % 2 == 0} for n in range(count)]
    return Dataset.from_list(rows)


def partners(trained: Dataset) -> list[int]:
    """Of which row each row is given the answer."""
    answers = [tuple(ids) for ids in trained["completion_ids"]]
    return [answers.index(tuple(ids)) for ids in trained["KL_completion_ids"]]


def broken(batches: Blocks, partner: Sequence[int]) -> int:
    """How many batches are given answers that are not just their own."""
    return sum({partner[row] for row in batch} != set(batch) for batch in batches)


IN_FOURS = [range(start, min(start + 4, 21)) for start in range(0, 21, 4)]


def test_trl_pairs_across_batches_when_several_processes_prepare_and_a_plan_knows_of_none(
    tmp_path: Path,
) -> None:
    one, three = (
        partners(trl(tmp_path, rated(21), dataset_num_proc=processes).train_dataset)
        for processes in (None, 3)
    )
    assert broken(IN_FOURS, one) == 0
    assert broken(IN_FOURS, three) == 5

    plan = plan_blocks(np.full(21, 9), np.arange(21) % 2 == 0, 4, paired=True)
    ours = {row: other for block in plan for row, other in zip(block, mismatched(block), strict=True)}
    assert broken(plan, [ours[row] for row in range(21)]) == 0


def test_trl_pairs_a_last_row_with_itself_and_a_plan_leaves_none_alone(tmp_path: Path) -> None:
    assert partners(trl(tmp_path, rated(21)).train_dataset)[20] == 20

    plan = plan_blocks(np.full(21, 9), np.arange(21) % 2 == 0, 4, paired=True)
    assert sorted(map(len, plan)) == [2, 3, 4, 4, 4, 4]
    assert not any(map(pairs_with_itself, plan))


def test_trl_trains_pairs_in_runs_of_one_label_and_one_order_and_a_plan_mixes_and_redraws(
    tmp_path: Path,
) -> None:
    pairs = [{"prompt": f"p{n}", "chosen": f"c{n}", "rejected": f"r{n}"} for n in range(12)]
    trainer = trl(tmp_path, Dataset.from_list(pairs))
    loader = trainer.get_train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        epochs.append([(batch["label"].tolist(), batch["input_ids"].tolist()) for batch in loader])
    assert [labels for labels, _ in epochs[0]] == [[True] * 4] * 3 + [[False] * 4] * 3
    assert epochs[0] == epochs[1]

    desirable = np.array(trainer.train_dataset["label"])
    prompts = np.tile(np.arange(12), 2)
    plan = plan_blocks(np.full(24, 9), desirable, 4, paired=True, groups=prompts)
    assert all(has_both(block, desirable) for block in plan)
    assert sum(clashes(block, prompts) for block in plan) == 0
    sampler = EpochBlocks(plan, seed=42)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
