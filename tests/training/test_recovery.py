"""Doing again, in smaller parts, what ran out of memory."""

import itertools
import weakref

import pytest
import torch

from kto_tui.training.recovery import Rows, Shrunk, TooLargeForDevice


class Tight:
    """Work that only fits with so many rows at once, and notes what was tried."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.tried: list[int] = []

    def __call__(self, rows: int) -> str:
        self.tried.append(rows)
        if rows > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of this.")
        return f"done with {rows}"


@pytest.mark.parametrize(
    ("at_once", "fits", "tried"), [(8, 8, [8]), (8, 1, [8, 4, 2, 1]), (5, 2, [5, 3, 2]), (1, 1, [1])]
)
def test_rows_are_halved_until_they_fit(at_once: int, fits: int, tried: list[int]) -> None:
    reports: list[Shrunk] = []
    rows, work = Rows(at_once, reports.append), Tight(fits)
    assert rows.carry_out(work) == f"done with {tried[-1]}"
    assert work.tried == tried
    assert [(shrunk.before, shrunk.now) for shrunk in reports] == list(itertools.pairwise(tried))
    assert rows.carry_out(work) == f"done with {tried[-1]}", "and it stays at that"


def test_what_failed_is_taken_back_each_time() -> None:
    undone: list[int] = []
    work = Tight(1)
    Rows(4, lambda _: None).carry_out(work, lambda: undone.append(work.tried[-1]))
    assert undone == [4, 2]


def test_a_single_row_that_does_not_fit() -> None:
    with pytest.raises(TooLargeForDevice) as caught:
        Rows(2, lambda _: None).carry_out(Tight(0))
    message = str(caught.value)
    assert "a single row does not fit" in message
    assert "--max-length" in message
    assert "Tried to allocate 2.00 GiB." in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes.",
    ],
)
def test_libraries_say_it_in_words_of_their_own(message: str) -> None:
    def work(rows: int) -> int:
        if rows > 1:
            raise RuntimeError(message)
        return rows

    assert Rows(4, lambda _: None).carry_out(work) == 1


def test_one_of_several_processes_does_not_begin_again_alone() -> None:
    work = Tight(1)
    with pytest.raises(torch.OutOfMemoryError):
        Rows(4, lambda _: None, recovers=False).carry_out(work)
    assert work.tried == [4]


def test_other_errors_pass_through() -> None:
    def work(rows: int) -> None:
        raise RuntimeError("a shape")

    rows = Rows(4, lambda _: None)
    with pytest.raises(RuntimeError, match="a shape"):
        rows.carry_out(work)
    assert rows.at_once == 4


def test_what_the_failed_pass_held_is_free_before_the_next() -> None:
    """An exception holds on to the frames it went through, and those to their tensors."""
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def fail(tensor: torch.Tensor) -> None:
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("out of memory")

    def work(rows: int) -> None:
        alive.extend(ref() is not None for ref in held)
        if rows > 1:
            fail(torch.zeros(rows))

    Rows(4, lambda _: None).carry_out(work)
    assert alive == [False, False, False]


def test_an_evaluation_says_that_it_is_one() -> None:
    reports: list[Shrunk] = []
    Rows(2, reports.append, evaluating=True).carry_out(Tight(1))
    assert reports == [Shrunk(evaluating=True, before=2, now=1)]
