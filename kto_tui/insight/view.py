"""What the dashboard's panes say, as plain values computed from a run's state."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import WRONG_REQUEST
from kto_tui.core.events import DataReady, ModelLoaded
from kto_tui.insight.lines import clock_text
from kto_tui.insight.state import RunState, Status
from kto_tui.insight.text import clean_text, format_count, format_duration

Shown = Status | Literal["reading"]
OVER: frozenset[Shown] = frozenset({"completed", "stopped", "failed", "died"})
_STAGES = {
    "loading_model": "loading the model",
    "preparing_data": "preparing the data",
    "caching_reference": "caching the reference",
    "training": "training",
    "evaluating": "evaluating",
    "saving": "saving a checkpoint",
    "paused": "paused",
    "parked": "parked: the device is free",
    "restarting": "the worker is about to be started again",
}


def shown_status(state: RunState, *, alive: bool, caught_up: bool, opened: float) -> Shown:
    """The status to show. `opened`: when this dashboard was; before it has read all, nothing is claimed.

    A live supervisor over a run that had ended earlier is a resume that has yet to say its first word.
    """
    if not caught_up:
        return "reading"
    if state.ended is not None and alive and state.ended.time < opened:
        return "starting"
    return state.status(alive)


@dataclass(frozen=True)
class HeaderView:
    """Which run this is. All texts are clean. `asked` names the requests that wait for their answer."""

    status: Shown
    model: str
    data: str
    directory: str
    asked: tuple[str, ...] = ()


def header_view(
    state: RunState,
    config: RunConfig | None,
    directory: Path,
    status: Shown,
    asked: tuple[str, ...] = (),
) -> HeaderView:
    """Model, data and directory, as the settings name them and the run has confirmed them."""
    model, data = _model_text(state.model, config), _data_text(state.data, config)
    return HeaderView(status, model, data, clean_text(str(directory)), asked)


def _model_text(model: ModelLoaded | None, config: RunConfig | None) -> str:
    named = (config.model or config.model_size) if config else None
    if model is None:
        return clean_text(named or "…")
    trained = f"{format_count(model.parameters)}, {format_count(model.trainable_parameters)} trained"
    kind = model.dtype if model.quantization == "none" else f"{model.quantization} {model.dtype}"
    return " · ".join(clean_text(text) for text in (named or model.name, trained, kind, model.device))


def _data_text(data: DataReady | None, config: RunConfig | None) -> str:
    named = clean_text((config.dataset if config else None) or "")
    if data is None:
        return named or "…"
    counts = f"{data.desirable:,} good, {data.undesirable:,} bad rows"
    extra = [
        f"{count:,} {word}"
        for count, word in ((data.dropped, "dropped"), (data.truncated, "truncated"))
        if count
    ]
    return " · ".join(filter(None, [named, ", ".join([counts, *extra])]))


@dataclass(frozen=True)
class ProgressView:
    """How far the run is. `fraction` is None while the length of what goes on is unknown."""

    label: str
    steps: str = ""
    fraction: float | None = None
    detail: str = ""
    elapsed_seconds: float = 0.0
    eta_seconds: float | None = None
    moving: bool = False


def progress_view(state: RunState, status: Shown, now: float) -> ProgressView:
    """Progress at `now`; a run that is over stands still at its last word."""
    if status == "reading":
        return ProgressView(
            "reading the journal", moving=True, steps=_steps_text(state.step, state.total_steps)
        )
    if status == "starting" and state.ended is not None:
        return ProgressView("starting", moving=True, steps=_steps_text(state.step, state.total_steps))
    if status in OVER:
        now = state.last_time or now
    step, total = state.step, state.total_steps
    inner = (
        state.progress
        if state.progress and state.progress.stage != "training" and status not in OVER
        else None
    )
    fraction = min(1.0, step / total) if total else None
    if inner is not None:
        fraction = min(1.0, inner.done / inner.total) if inner.total > 0 else None
    elif not state.step and state.stage not in (None, "training"):
        fraction = None
    return ProgressView(
        label=_label(state, status, now),
        steps=_steps_text(step, total),
        fraction=fraction,
        detail=_detail(inner.done, inner.total, inner.detail) if inner else "",
        elapsed_seconds=state.elapsed_seconds(now),
        eta_seconds=_eta(state, status, now),
        moving=status in ("starting", "restarting", "running"),
    )


def _steps_text(step: int, total: int | None) -> str:
    if total:
        return f"step {step:,}/{total:,}"
    return f"step {step:,}" if step else ""


def _label(state: RunState, status: Shown, now: float) -> str:
    if status in OVER:
        return status
    if state.stage is None:
        return "starting"
    label = _STAGES[state.stage]
    if state.stage == "training" or state.stage_since is None:
        return label
    return f"{label}, {format_duration(state.steady.at(now) - state.stage_since)}"


def _detail(done: int, total: int, detail: str) -> str:
    count = f"{done:,}/{total:,}" if total > 0 else f"{done:,}" if done else ""
    return " ".join(filter(None, [count, clean_text(detail)]))


def _eta(state: RunState, status: Shown, now: float) -> float | None:
    """The run's own estimate, counted down since it was made; only of this worker's."""
    latest = state.latest
    if latest is None or latest.eta_seconds is None or state.latest_at is None:
        return None
    if status in ("paused", "parked"):
        return latest.eta_seconds
    if status != "running":
        return None
    return max(0.0, latest.eta_seconds - (state.steady.at(now) - state.latest_at))


@dataclass(frozen=True)
class EndingView:
    """How the run ended, why, and how to go on; `log_tail` are the last lines of run.log, clean."""

    status: Shown
    headline: str
    reason: str
    advice: str
    log_tail: tuple[str, ...] = ()


def resume_command(directory: Path) -> str:
    """The command that goes on from the newest checkpoint, to be pasted into a shell."""
    return f"kto-tui --resume-from-checkpoint latest --output-dir {_quoted(directory)}"


def attach_command(directory: Path) -> str:
    """The command that watches this run, to be pasted into a shell."""
    return f"kto-tui attach {_quoted(directory)}"


def _quoted(path: Path) -> str:
    """A path as one word of a shell; one that begins with a dash is no option."""
    text = clean_text(str(path))
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def ending_view(
    state: RunState, status: Shown, directory: Path, log_tail: tuple[str, ...]
) -> EndingView | None:
    """What the banner says, or None while the run is not over."""
    if status not in OVER:
        return None
    of_total = f" of {state.total_steps:,}" if state.total_steps else ""
    seconds = f" after {format_duration(state.elapsed_seconds(state.ended.time))}" if state.ended else ""
    headline = f"{status.upper()} at step {state.step:,}{of_total}{seconds}"
    tail = log_tail if status in ("failed", "died") else ()
    return EndingView(status, headline, _reason(state, status), _advice(state, status, directory), tail)


def _reason(state: RunState, status: Shown) -> str:
    if status == "died":
        last = f"; its last word came at {clock_text(state.last_time)}" if state.last_time else ""
        return f"The supervisor is gone without a farewell (killed, or the machine went down){last}."
    error = state.ended.error if state.ended else None
    return clean_text(error) if error else ""


def _advice(state: RunState, status: Shown, directory: Path) -> str:
    if status == "completed":
        return f"The model: {clean_text(str(RunDirectory(directory).final_model))}"
    if state.ended is not None and state.ended.exit_code == WRONG_REQUEST:
        return ""  # The reason itself says what to mend; there is nothing to resume.
    if state.checkpoints:
        newest = state.checkpoints[-1].step
        return f"Go on from step {newest:,}: {resume_command(directory)}"
    settings = _quoted(RunDirectory(directory).settings)
    return f"No checkpoint was saved. Start anew: kto-tui --overwrite --config {settings}"
