"""What is said of evaluations: the newest, the best, the patience, and training's AUC."""

import math

import pytest

from kto_tui.core.config import RunConfig
from kto_tui.core.events import AnyEvent, Evaluated, ReferenceCacheReady, RunStarted, StepLogged
from kto_tui.insight.evaluation import evaluation_lines
from kto_tui.insight.reference import reference_text
from kto_tui.insight.state import RunState, fold

PATIENT = RunConfig(early_stopping_patience=3)


def evaluated(step: int, loss: float | None, **metrics: float) -> Evaluated:
    return Evaluated(step=step, metrics={"loss": loss, **metrics})


def began(resumed_from: str | None = None) -> RunStarted:
    return RunStarted(run_id="r", versions={}, host="", devices=(), resumed_from=resumed_from)


def texts(state: RunState, config: RunConfig | None = PATIENT) -> list[str]:
    return ["".join(piece.text for piece in line) for line in evaluation_lines(state, config)]


def test_nothing_measured_is_nothing_said() -> None:
    assert texts(RunState()) == []
    assert texts(fold([StepLogged(step=5, total_steps=9, epoch=0, metrics={"loss": 0.5})])) == []


def test_the_best_is_the_first_of_the_lowest_finite_losses() -> None:
    losses = (0.5, 0.4, None, math.nan, 0.4, 0.45)
    events: list[AnyEvent] = [evaluated(10 * number, loss) for number, loss in enumerate(losses, start=1)]
    assert [best.step if (best := fold(events[:end]).best_evaluation) else None for end in range(7)] == [
        None, 10, 20, 20, 20, 20, 20
    ]  # fmt: skip
    assert fold([evaluated(1, None), evaluated(2, math.inf)]).best_evaluation is None


def test_the_newest_stands_before_the_best() -> None:
    state = fold([evaluated(10, 0.4, **{"rewards/margins": 1.0, "rewards/auc": 0.75})])
    assert texts(state) == ["best 10    loss 0.4000  margin 1.000  AUC 0.750"]
    state = fold([evaluated(20, 0.41)], state)
    assert texts(state) == [
        "step 20    loss 0.4100",
        "best 10    loss 0.4000  margin 1.000  AUC 0.750",
        "patience   1 of 3",
    ]
    assert texts(state, None) == texts(state, RunConfig()) == texts(state)[:2]


@pytest.mark.parametrize(("worse", "tone"), [(1, "plain"), (2, "warning"), (3, "warning")])
def test_the_last_chance_is_marked(worse: int, tone: str) -> None:
    events: list[AnyEvent] = [evaluated(step, 0.4 + step) for step in range(worse + 1)]
    piece = evaluation_lines(fold(events), PATIENT)[-1][1]
    assert piece.text == f"{worse} of 3"
    assert piece.tone == tone


def test_a_loss_that_was_never_finite_uses_up_the_patience() -> None:
    state = fold([evaluated(10, None), evaluated(20, math.nan)])
    assert texts(state) == ["step 20    loss nan", "patience   2 of 3"]


def test_the_auc_of_training_is_the_newest() -> None:
    logged = [
        StepLogged(step=step, total_steps=9, epoch=0, metrics={"rewards/auc": auc})
        for step, auc in ((5, 0.6), (6, 0.8123))
    ]
    assert texts(fold(logged)) == ["training   AUC 0.812  of the rows last trained on"]


def test_going_on_from_an_earlier_step_forgets_what_came_after_it() -> None:
    state = fold([began(), evaluated(10, 0.5), evaluated(20, 0.4), began("out/checkpoint-15")])
    assert [event.step for event in state.evaluations] == [10]
    state = fold([evaluated(20, 0.6)], state)
    assert state.best_evaluation is not None
    assert state.best_evaluation.step == 10
    assert fold([began()], state).evaluations == ()


def test_the_reference_in_words() -> None:
    kept = ReferenceCacheReady(
        path="~/.cache/kto-tui\x1b[2J", blocks=4000, known=12, bytes=1_200_000, limit_bytes=10**9
    )
    assert reference_text(kept) == "12 of 4,000 blocks known, 1.2 MB of 1.0 GB in ~/.cache/kto-tui"
    off = ReferenceCacheReady(path=None, blocks=40, known=0, bytes=0, limit_bytes=0)
    assert reference_text(off) == "computed at every step (--reference-cache off)"
