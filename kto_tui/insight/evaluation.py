"""What stands beside the table of evaluations: the newest, the best, and how patient the run still is."""

from kto_tui.core.config import RunConfig
from kto_tui.core.events import Evaluated
from kto_tui.insight.lines import Line, Piece
from kto_tui.insight.state import RunState
from kto_tui.insight.text import AUC, format_loss, format_metric, metric

_FIGURES = (
    ("loss", "loss", format_loss),
    ("rewards/margins", "margin", format_metric),
    (AUC, "AUC", format_metric),
)
_NAME_WIDTH = 10


def evaluation_lines(state: RunState, config: RunConfig | None) -> tuple[Line, ...]:
    """A line each for training's AUC, the newest evaluation and the best; none where nothing was measured."""
    lines = [_training_line(state), *_evaluated_lines(state), _patience_line(state, config)]
    return tuple(line for line in lines if line)


def _training_line(state: RunState) -> Line:
    metrics = state.latest.metrics if state.latest else {}
    if AUC not in metrics:
        return ()
    value = format_metric(metric(metrics, AUC))
    return _name("training"), Piece(f"AUC {value}"), Piece("  of the rows last trained on", "dim")


def _evaluated_lines(state: RunState) -> list[Line]:
    if not state.evaluations:
        return []
    newest, best = state.evaluations[-1], state.best_evaluation
    if best is newest:
        return [_evaluated_line("best", newest)]
    return [_evaluated_line("step", newest), *([_evaluated_line("best", best)] if best else [])]


def _evaluated_line(name: str, event: Evaluated) -> Line:
    figures = [
        f"{word} {write(metric(event.metrics, key))}" for key, word, write in _FIGURES if key in event.metrics
    ]
    return _name(f"{name} {event.step}"), Piece("  ".join(figures), "good" if name == "best" else "plain")


def _patience_line(state: RunState, config: RunConfig | None) -> Line:
    patience = config.early_stopping_patience if config else None
    best = state.best_evaluation
    since = len(state.evaluations) - (state.evaluations.index(best) + 1 if best else 0)
    if patience is None or not since:
        return ()
    text = f"{since} of {patience}"
    return _name("patience"), Piece(text, "warning" if since + 1 >= patience else "plain")


def _name(text: str) -> Piece:
    return Piece(f"{text:<{_NAME_WIDTH}} ", "dim")
