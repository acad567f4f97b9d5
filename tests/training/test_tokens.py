from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from kto_tui.training.blocks import EpochBlocks
from kto_tui.training.tokens import TokenizedRows

ROWS = TokenizedRows.of([([1, 2], [3], True), ([4], [5, 6, 7], False), ([], [8], True), ([9], [], False)])


def test_each_row_is_found_again() -> None:
    assert len(ROWS) == 4
    assert ROWS.prompt(1).tolist() == [4]
    assert ROWS.completion(1).tolist() == [5, 6, 7]
    assert [(row["prompt_ids"].tolist(), row["completion_ids"].tolist(), row["label"]) for row in ROWS] == [
        ([1, 2], [3], True),
        ([4], [5, 6, 7], False),
        ([], [8], True),
        ([9], [], False),
    ]
    assert ROWS[0]["label"] is True


@pytest.mark.parametrize("row", [4, -1])
def test_there_is_no_row_past_either_end(row: int) -> None:
    with pytest.raises(IndexError):
        ROWS[row]


def test_lengths_are_those_trained_on() -> None:
    assert ROWS.lengths(99).tolist() == [3, 4, 1, 1]
    assert ROWS.lengths(3).tolist() == [3, 3, 1, 1]
    assert ROWS.completion_lengths.tolist() == [1, 3, 1, 0]


def test_a_subset_is_in_the_order_asked_for() -> None:
    chosen = ROWS.subset([2, 1, 1])
    assert [chosen.row(row).tolist() for row in range(3)] == [[8], [4, 5, 6, 7], [4, 5, 6, 7]]
    assert chosen.ids is ROWS.ids
    assert chosen.lengths(9).tolist() == [1, 4, 4]
    assert chosen.prompt_lengths.tolist() == [0, 1, 1]
    assert chosen.desirable.tolist() == [True, False, False]
    assert len(ROWS.subset(np.array([], dtype=np.int64))) == 0


def test_arrays_have_the_types_that_they_are_kept_in() -> None:
    for rows in (ROWS, ROWS.subset([0, 3]), TokenizedRows.of([])):
        kinds = [a.dtype for a in (rows.ids, rows.begins, rows.sizes, rows.prompt_lengths, rows.desirable)]
        assert kinds == [np.int32, np.int64, np.int32, np.int32, np.bool_]


def test_a_loader_of_torch_takes_rows_and_blocks() -> None:
    sampler = EpochBlocks([(0, 3), (1, 2)], seed=3)
    loader: DataLoader[Any] = DataLoader(ROWS, batch_sampler=sampler, collate_fn=list)  # type: ignore[arg-type]
    batches = [[row["completion_ids"].tolist() for row in batch] for batch in loader]
    assert sorted(batches) == [[[3], []], [[5, 6, 7], [8]]]
