"""Whatever can be read from a journal can be shown: nothing raises, bursts or forges a line."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kto_tui.core.commands import CommandName
from kto_tui.core.config import RunConfig
from kto_tui.core.events import AnyEvent
from kto_tui.insight.columns import COLUMNS, Widths, fit
from kto_tui.insight.evaluation import evaluation_lines
from kto_tui.insight.history import NoteRow, RowMaker
from kto_tui.insight.lines import Asked, Line, checkpoint_line, detail_lines, notices
from kto_tui.insight.state import RunState, apply, fold
from kto_tui.insight.view import ending_view, header_view, progress_view, shown_status
from tests.fakes.events import EVENTS, TEXTS

NAMES: tuple[CommandName, ...] = ("pause", "stop")
CLOCKS = st.one_of(st.floats(0, 1e12), st.sampled_from([0.0, 1.7e9, 1e12]))
CONTROLS = {*range(32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F}


def is_harmless(text: str) -> bool:
    return not CONTROLS.intersection(map(ord, text))


def texts(lines: tuple[Line, ...]) -> list[str]:
    return [piece.text for line in lines for piece in line]


@given(st.lists(EVENTS, max_size=12), st.booleans(), CLOCKS, TEXTS)
@settings(max_examples=200, deadline=None)
def test_the_state_of_any_events_can_be_shown(
    events: list[AnyEvent], alive: bool, now: float, name: str
) -> None:
    state = RunState()
    for event in events:
        before, state = state.elapsed_seconds(now), apply(state, event)
        assert before >= 0
    status = shown_status(state, alive=alive, caught_up=True, opened=now)
    config = RunConfig(model=name, dataset=name)
    view = progress_view(state, status, now)
    assert view.fraction is None or 0 <= view.fraction <= 1
    assert view.elapsed_seconds >= 0
    assert view.eta_seconds is None or view.eta_seconds >= 0 or status != "running"
    header = header_view(state, config, Path("run"), status)
    ending = ending_view(state, status, Path("run"), ())
    asked = [Asked(command, now, command) for command in NAMES]
    shown = [view.label, view.steps, view.detail, header.model, header.data]
    shown += [ending.headline, ending.reason, ending.advice] if ending else []
    shown += texts(notices(state, asked, over=not alive)) + texts(evaluation_lines(state, config))
    shown += texts(detail_lines(state)) + texts(tuple(map(checkpoint_line, state.checkpoint_log)))
    assert all(map(is_harmless, shown))
    assert all(len(text) < 20_000 for text in shown)
    assert fold(events) == state


@given(st.lists(EVENTS, max_size=12), st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_the_rows_of_any_events_keep_to_their_columns(events: list[AnyEvent], available: int) -> None:
    maker, widths = RowMaker(), Widths()
    rows = [row for event in events if (row := maker.row(event)) is not None]
    for row in rows:
        widths.add(row)
    fit(widths.widths, available)
    for row in rows:
        if isinstance(row, NoteRow):
            assert is_harmless(row.text)
            continue
        for column, width in zip(COLUMNS, widths.widths, strict=True):
            assert len(column.text(row)) <= width, column.title
