"""Rows of the table and the columns that show them."""

import math

import pytest

from kto_tui.core.events import RunStarted, StageChanged, StepLogged
from kto_tui.insight.columns import COLUMNS, Widths, fit
from kto_tui.insight.history import MetricRow, NoteRow, RowMaker


def logged(step: int, loss: float | None, margin: float | None, total: int = 500) -> StepLogged:
    metrics = {"loss": loss, "rewards/margins": margin}
    return StepLogged(step=step, total_steps=total, epoch=0.0, metrics=metrics)


def begun(resumed_from: str | None = None) -> RunStarted:
    return RunStarted(run_id="x", versions={}, host="", devices=(), resumed_from=resumed_from)


def made(*events: StepLogged | RunStarted | StageChanged) -> list[MetricRow | NoteRow]:
    maker = RowMaker()
    return [row for event in events if (row := maker.row(event)) is not None]


def test_turns_compare_with_the_row_before() -> None:
    rows = made(logged(5, 0.5, 0.1), logged(10, 0.4, 0.05), logged(15, 0.6, 0.2), logged(20, 0.6, 0.2))
    turns = [(row.loss_turn, row.margin_turn) for row in rows if isinstance(row, MetricRow)]
    assert turns == [("same", "same"), ("better", "worse"), ("worse", "better"), ("same", "same")]


def test_becoming_not_finite_is_worse() -> None:
    rows = made(logged(5, 0.5, 0.1), logged(10, None, None), logged(15, None, 0.1))
    assert [row.loss_turn for row in rows if isinstance(row, MetricRow)] == ["same", "worse", "same"]
    assert isinstance(rows[1], MetricRow)
    assert rows[1].loss is not None
    assert math.isnan(rows[1].loss)


def test_what_was_not_measured_is_none() -> None:
    (row,) = made(logged(5, 0.5, 0.1))
    assert isinstance(row, MetricRow)
    assert row.kl is None
    assert row.memory_bytes is None


def test_sittings_are_marked_and_not_compared() -> None:
    rows = made(begun(), logged(5, 0.5, 0.1), begun("checkpoint-5"), logged(10, 0.4, 0.2))
    assert rows[1] == NoteRow("resumed from checkpoint-5")
    last = rows[2]
    assert isinstance(last, MetricRow)
    assert last.loss_turn == "same"


def test_a_worker_that_was_started_again_is_marked_so() -> None:
    restarting = StageChanged(stage="restarting")
    rows = made(begun(), logged(5, 0.5, 0.1), restarting, begun("checkpoint-5"), begun("checkpoint-5"))
    assert rows[1:] == [NoteRow("restarted from checkpoint-5"), NoteRow("resumed from checkpoint-5")]
    assert made(begun(), restarting, begun()) == [NoteRow("started anew")]


def test_widths_grow_with_what_was_seen_and_hold_every_text() -> None:
    widths = Widths()
    rows = made(*(logged(step, 10.0**step, -(10.0**step), 1_000_000) for step in range(6)))
    for row in rows:
        widths.add(row)
    for row in rows:
        assert isinstance(row, MetricRow)
        for column, width in zip(COLUMNS, widths.widths, strict=True):
            assert len(column.text(row)) <= width


@pytest.mark.parametrize("available", range(1, 160, 7))
def test_columns_fit_or_are_dropped_by_worth(available: int) -> None:
    widths = Widths().widths
    layout = fit(widths, available)
    used = sum(width + layout.sign * bool(column.turn) for column, width in layout.columns)
    used += layout.gap * (len(layout.columns) - 1)
    assert used <= available or len(layout.columns) == 1
    shown = {column.title for column, _ in layout.columns}
    assert shown.isdisjoint(layout.hidden)
    assert len(shown) + len(layout.hidden) == len(COLUMNS)
    worth = {column.title: column.worth for column in COLUMNS}
    if layout.hidden:
        assert max(worth[title] for title in layout.hidden) < min(worth[title] for title in shown)


def test_eighty_columns_hold_all_ten() -> None:
    assert fit(Widths().widths, 79).hidden == ()
