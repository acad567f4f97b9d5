"""The rows of the metrics table, made from events one by one in constant time."""

import math
from typing import Literal

import msgspec

from kto_tui.core.events import AnyEvent, Evaluated, RunStarted, StageChanged, StepLogged
from kto_tui.insight.text import AUC, clean_text, format_loss, format_metric, metric

Turn = Literal["better", "worse", "same"]


class MetricRow(msgspec.Struct, frozen=True, gc=False):
    """One logged step. A metric is None if the run did not give it, and nan if it was not finite.

    `loss_turn` and `margin_turn` compare with the row before: a falling loss and a rising margin are
    better. "same" also stands where there is nothing to compare with.
    """

    step: int
    total_steps: int
    loss: float | None
    learning_rate: float | None
    chosen: float | None
    rejected: float | None
    margin: float | None
    kl: float | None
    memory_bytes: float | None
    samples_per_second: float | None
    eta_seconds: float | None
    loss_turn: Turn = "same"
    margin_turn: Turn = "same"


class NoteRow(msgspec.Struct, frozen=True, gc=False):
    """A line across the table: an evaluation, or the start of one more sitting."""

    text: str


Row = MetricRow | NoteRow


class RowMaker:
    """Turns events into rows, remembering only the row before."""

    def __init__(self) -> None:
        self._previous: MetricRow | None = None
        self._sittings = 0
        self._restarting = False

    def row(self, event: AnyEvent) -> Row | None:
        """The row that this event adds to the table, or None."""
        match event:
            case StepLogged():
                self._previous = _metric_row(event, self._previous)
                return self._previous
            case Evaluated():
                return NoteRow(_evaluation_text(event))
            case RunStarted():
                return self._begin(event)
            case StageChanged():
                self._restarting = event.stage == "restarting"
        return None

    def _begin(self, event: RunStarted) -> NoteRow | None:
        """Name the start of every sitting but the first: its steps may repeat earlier ones."""
        self._sittings += 1
        self._previous = None
        how, self._restarting = "restarted" if self._restarting else "resumed", False
        if event.resumed_from:
            return NoteRow(f"{how} from {clean_text(event.resumed_from)}")
        return NoteRow("started anew") if self._sittings > 1 else None


def _metric_row(event: StepLogged, previous: MetricRow | None) -> MetricRow:
    metrics = event.metrics
    loss, margin = metric(metrics, "loss"), metric(metrics, "rewards/margins")
    return MetricRow(
        step=event.step,
        total_steps=event.total_steps,
        loss=loss,
        learning_rate=metric(metrics, "learning_rate"),
        chosen=metric(metrics, "rewards/chosen"),
        rejected=metric(metrics, "rewards/rejected"),
        margin=margin,
        kl=metric(metrics, "kl"),
        memory_bytes=metric(metrics, "gpu_memory_bytes"),
        samples_per_second=metric(metrics, "samples_per_second"),
        eta_seconds=event.eta_seconds,
        loss_turn=_turn(previous.loss, loss, -1) if previous else "same",
        margin_turn=_turn(previous.margin, margin, +1) if previous else "same",
    )


def _turn(before: float | None, now: float | None, better: int) -> Turn:
    """Which way a value went; `better` is the sign of a welcome change. Losing finiteness is worse."""
    if now is None or before is None:
        return "same"
    if math.isnan(now) or math.isnan(before):
        return "worse" if math.isnan(now) and not math.isnan(before) else "same"
    change = (now - before) * better
    return "same" if change == 0 else "better" if change > 0 else "worse"


def _evaluation_text(event: Evaluated) -> str:
    parts = [f"evaluation at step {event.step}:"]
    if "loss" in event.metrics:
        parts.append(f"loss {format_loss(metric(event.metrics, 'loss'))}")
    for key, name in (("rewards/margins", "margin"), (AUC, "AUC"), ("kl", "KL")):
        if key in event.metrics:
            parts.append(f"{name} {format_metric(metric(event.metrics, key))}")
    return "  ".join(parts)
