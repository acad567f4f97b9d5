"""What the printed run says of single events, in a line each. Texts from outside are cleaned by the frame."""

import math
from collections.abc import Mapping

from kto_tui.core.events import (
    AlertRaised,
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointPinned,
    CheckpointSaved,
    DataReady,
    Evaluated,
    Metrics,
    ModelLoaded,
    ReferenceCacheReady,
)
from kto_tui.insight.lines import save_reason
from kto_tui.insight.reference import reference_text
from kto_tui.insight.text import (
    AUC,
    MISSING,
    clean_text,
    format_bytes,
    format_count,
    format_loss,
    format_metric,
    format_seconds,
    format_whole,
    full_stop,
    metric,
)
from kto_tui.report.frame import TEXT_WIDTH, Frame
from kto_tui.report.width import display_width, shorten

_PERCENTILES = ("p5", "p50", "p95")


def model_loaded(event: ModelLoaded) -> str:
    """Which model was loaded, from where, how large and in which form."""
    source = f" ({event.source})" if event.source else ""
    parts = [
        f"Model: {event.name}{source}",
        f"{format_count(event.parameters)} parameters",
        f"{format_count(event.trainable_parameters)} trainable",
        "not quantized" if event.quantization == "none" else event.quantization,
        event.dtype,
        event.device,
    ]
    return clean_text(", ".join(parts))


def data_ready(event: DataReady) -> str:
    """What is trained on: rows, classes, weights and lengths."""
    desirable, undesirable = event.weights
    text = (
        f"Data: {event.examples:,} rows ({event.desirable:,} desirable, {event.undesirable:,} undesirable),"
        f" {event.dropped:,} dropped, {event.truncated:,} truncated,"
        f" class weights {desirable:g} : {undesirable:g}"
    )
    lengths = [
        f"{name} {spread}"
        for name, tokens in (("prompts", event.prompt_tokens), ("answers", event.completion_tokens))
        if (spread := _spread(tokens))
    ]
    return text + (f"; {', '.join(lengths)} tokens (p5/p50/p95)" if lengths else "")


def _spread(tokens: Mapping[str, float]) -> str:
    return "/".join(format_whole(tokens[key]) for key in _PERCENTILES if key in tokens)


def reference(event: ReferenceCacheReady) -> str:
    """How much of the reference is known already, and where it is kept."""
    return f"Reference: {reference_text(event)}"


def evaluated(event: Evaluated) -> str:
    """The figures of an evaluation, in a row's worth."""
    parts = []
    if "loss" in event.metrics:
        parts.append(f"loss {format_loss(metric(event.metrics, 'loss'))}")
    parts += _rewards(event.metrics)
    for key, name in ((AUC, "AUC"), ("kl", "KL")):
        if key in event.metrics:
            parts.append(f"{name} {format_metric(metric(event.metrics, key))}")
    return f"EVALUATED at step {event.step}: {', '.join(parts) or 'no figures'}"


def _rewards(metrics: Metrics) -> list[str]:
    """The margin and what it is the difference of; what is there, where a class had no rows."""
    keys = {"margin": "rewards/margins", "chosen": "rewards/chosen", "rejected": "rewards/rejected"}
    texts = {name: format_metric(metric(metrics, key)) for name, key in keys.items() if key in metrics}
    if len(texts) == len(keys):
        return [f"margin {texts['margin']} ({texts['chosen']} vs {texts['rejected']})"]
    return [f"{name} {text}" for name, text in texts.items()]


def checkpoint_saved(event: CheckpointSaved, frame: Frame, *, keep_requested: bool) -> str:
    """Where it lies, how large it is and how long it took; why, when it was not due anyway.

    `keep_requested`: one that was asked for outlives the rotation.
    """
    why = "" if event.reason == "scheduled" else f", {save_reason(event, keep_requested)}"
    facts = f" ({format_bytes(event.bytes)}, {format_seconds(event.seconds)}{why})"
    return _with_path(f"CHECKPOINT SAVED at step {event.step} → ", event.path, facts, frame)


def checkpoint_pinned(event: CheckpointPinned, frame: Frame) -> str:
    """Which one stays, because it was asked for."""
    return _with_path("CHECKPOINT PINNED: ", event.path, " (outlives the rotation)", frame)


def checkpoint_deleted(event: CheckpointDeleted, frame: Frame) -> str:
    """Which one went, so that the newest are kept."""
    return _with_path("CHECKPOINT DELETED: ", event.path, " (newer ones are kept)", frame)


def checkpoint_failed(event: CheckpointFailed, frame: Frame) -> str:
    """Which one, and why; as long as it takes."""
    path = shorten(frame.text(event.path), TEXT_WIDTH, frame.ellipsis)
    return f"CHECKPOINT FAILED at step {event.step}: {frame.text(event.error)} ({path})"


def _with_path(before: str, path: str, after: str, frame: Frame) -> str:
    """One row's worth: the path gives way in its middle, where a reader misses least."""
    before, after = frame.text(before) + " ", " " + frame.text(after)
    room = TEXT_WIDTH - display_width(before) - display_width(after)
    return before + shorten(frame.text(path), max(room, 12), frame.ellipsis) + after


def alert(event: AlertRaised) -> str:
    """How bad, where, what is wrong, what to do, and where the rest is told."""
    severity = {"info": "NOTE", "warning": "WARNING", "error": "ERROR"}[event.severity]
    where = f" at step {event.step}" if event.step is not None else ""
    message = clean_text(event.message)
    end = full_stop(message) if event.advice else ""
    text = f"{severity}{where}: {message}{end} {clean_text(event.advice)}".rstrip()
    return f"{text} (details: run.log)" if event.detail else text


def speed(per_second: float, places: int) -> str:
    """Steps or samples a second with so many decimals; scientific where those would all be zero.

    So too where the figure is very large.
    """
    if not math.isfinite(per_second):
        return MISSING
    if 10.0 ** (1 - places) <= per_second < 1e6:
        return f"{per_second:.{places}f}"
    return f"{per_second:.1e}"
