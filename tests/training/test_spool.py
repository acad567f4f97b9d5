"""Rows that wait on disk to be tokenized."""

import dataclasses
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kto_tui.core.errors import UserError
from kto_tui.data import Row
from kto_tui.training.spool import RowSpool

CHAT = [{"role": "user", "content": "é"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
ROWS = [
    Row("Hi ", "yes", True, "a.jsonl, row 1"),
    Row(CHAT, [{"role": "assistant", "content": "no"}], False, "a.jsonl, row 2", TOOLS),
    Row("Hi ", "no", False, "elsewhere"),
    Row("x\n", "", True, "b 2.csv, row 10"),
]


def test_rows_are_read_back_as_they_came(tmp_path: Path) -> None:
    spool = RowSpool.of(ROWS, tmp_path)
    assert list(spool) == ROWS
    assert spool[1:3] == ROWS[1:3]
    assert len(spool) == 4
    assert spool.labels.tolist() == [True, False, False, True]
    assert spool.groups.tolist() == [0, 1, 0, 2]
    assert spool.holds_text
    assert not RowSpool.of(ROWS[1:2]).holds_text


@pytest.mark.parametrize("row", [4, -1])
def test_there_is_no_row_past_either_end(row: int) -> None:
    with pytest.raises(IndexError):
        RowSpool.of(ROWS)[row]


def test_a_choice_of_a_choice_is_in_the_order_asked_for() -> None:
    chosen = RowSpool.of(ROWS).chosen(np.array([3, 2, 0])).chosen(np.array([2, 0]))
    assert list(chosen) == [ROWS[0], ROWS[3]]
    assert chosen.labels.tolist() == [True, True]
    assert chosen.groups.tolist() == [0, 1]
    assert chosen.where(1) == "b 2.csv, row 10"


SAME: list[Any] = [
    "Hi",
    [{"role": "user", "content": "Hi"}],
    [{"content": "Hi", "role": "user"}],
    [{"role": "system", "content": "Hi"}],
]


def test_a_prompt_is_the_same_however_it_is_written() -> None:
    """Else --eval-fraction would part them, and train on what is evaluated."""
    rows = [dataclasses.replace(ROWS[0], prompt=prompt) for prompt in SAME]
    with_tools = [
        dataclasses.replace(rows[1], tools=tools) for tools in (TOOLS, [dict(reversed(TOOLS[0].items()))])
    ]
    assert RowSpool.of([*rows, *with_tools]).groups.tolist() == [0, 0, 0, 1, 2, 2]


def test_what_cannot_be_written_down_names_its_row() -> None:
    with pytest.raises(UserError, match=r"^a\.jsonl, row 1: holds half of a surrogate pair"):
        RowSpool.of([dataclasses.replace(ROWS[0], prompt=[{"role": "user", "content": "\ud800"}])])


def test_a_row_costs_a_few_dozen_bytes_of_memory(tmp_path: Path) -> None:
    rows = (Row(f"{n:0200}", "a" * 200, bool(n % 2), f"rows.jsonl, row {n}") for n in range(50_000))
    tracemalloc.start()
    try:
        spool = RowSpool.of(rows, tmp_path)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(spool) == 50_000
    assert held < 50_000 * 60
    assert peak < 40 << 20
