"""The average speed of a sitting."""

import pytest

from kto_tui.core.events import AnyEvent, DataReady, StageChanged, StepLogged
from kto_tui.report.pace import Pace
from kto_tui.report.sentences import speed
from tests.report.recorded import logged, saved


def pace(*events: AnyEvent, first_step: int = 0) -> float | None:
    measured = Pace(first_step)
    for event in events:
        measured.handle(event)
    return measured.steps_per_second


def step(time: float, number: int) -> AnyEvent:
    return logged(time, number, 0.5, 0.1, 0.0)


def stage(time: float, name: str) -> AnyEvent:
    return StageChanged(time=time, stage=name)  # type: ignore[arg-type]


def test_loading_does_not_count() -> None:
    assert pace(stage(0, "loading_model"), stage(100, "training"), step(120, 10)) == 0.5


def test_only_steps_of_this_sitting_count() -> None:
    assert pace(stage(100, "training"), step(110, 60), first_step=50) == 1.0


@pytest.mark.parametrize("hold", ["paused", "parked"])
def test_holds_do_not_count(hold: str) -> None:
    events = [stage(0, "training"), step(10, 10), stage(10, hold), stage(500, "training"), step(510, 20)]
    assert pace(*events) == 1.0


def test_the_model_loaded_again_after_parking_does_not_count() -> None:
    again = [stage(10, "parked"), stage(50, "loading_model"), stage(60, "caching_reference")]
    assert pace(stage(0, "training"), step(10, 10), *again, stage(90, "training"), step(100, 20)) == 1.0


def test_evaluating_and_saving_count() -> None:
    work = [stage(10, "evaluating"), stage(20, "saving"), stage(30, "training")]
    assert pace(stage(0, "training"), step(10, 10), *work, step(40, 20)) == 0.5


def test_what_follows_the_last_step_does_not_count() -> None:
    assert pace(stage(0, "training"), step(10, 10), stage(10, "saving"), stage(99, "training")) == 1.0


def test_last_steps_are_known_from_their_checkpoint() -> None:
    assert pace(stage(0, "training"), step(10, 10), saved(14, 12, seconds=2.0)) == 1.0


def test_start_that_was_not_seen() -> None:
    assert pace(step(10, 10)) is None
    assert pace(step(10, 10), step(20, 15)) == 0.5


def test_nothing_done_yet() -> None:
    assert pace(stage(0, "training")) is None


def passed(time: float, step: int, epoch: float) -> AnyEvent:
    return StepLogged(time=time, step=step, total_steps=9, epoch=epoch, metrics={})


DATA = DataReady(
    time=0, desirable=20, undesirable=20, examples=40, dropped=0, truncated=0, weights=(1.0, 1.0)
)


@pytest.mark.parametrize(
    ("events", "first_step", "expected"),
    [
        pytest.param([DATA, stage(0, "training"), passed(2, 3, 3.0)], 0, 60.0, id="short steps"),
        pytest.param([stage(0, "training"), passed(2, 3, 3.0)], 0, None, id="rows not known"),
        pytest.param([DATA, stage(0, "training"), passed(2, 5, 2.5)], 4, None, id="resumed, one row"),
        pytest.param(
            [DATA, stage(0, "training"), passed(2, 5, 2.5), passed(6, 9, 4.5)], 4, 20.0, id="resumed"
        ),
        pytest.param([DATA, passed(9, 5, 2.5), passed(13, 9, 4.5)], 0, 20.0, id="start not seen"),
        pytest.param(
            [DATA, stage(0, "training"), passed(2, 1, 1.0), saved(9, 2, seconds=1.0)],
            0,
            20.0,
            id="a step unlogged",
        ),
    ],
)
def test_rows_are_counted_by_the_share_of_the_data(
    events: list[AnyEvent], first_step: int, expected: float | None
) -> None:
    measured = Pace(first_step)
    for event in events:
        measured.handle(event)
    assert measured.samples_per_second == expected


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [(0.041, 3, "0.041"), (1.312, 2, "1.31"), (0.00041, 3, "4.1e-04"), (123.4, 2, "123.40")],
)
def test_speeds_are_never_shown_as_zero(value: float, places: int, text: str) -> None:
    assert speed(value, places) == text
