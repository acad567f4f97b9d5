"""The curves of a run as text that reads the same on the hub and in a terminal."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_BARS = "▁▂▃▄▅▆▇█"
_GAP = "·"
_CELLS = 40
_MOST_ROWS = 12
_SHOWN = {
    "loss": "loss",
    "rewards/margins": "margin",
    "rewards/chosen": "reward of desirable answers",
    "rewards/rejected": "reward of undesirable answers",
    "kl": "KL",
    "eval_loss": "loss of the evaluation",
    "eval_rewards/margins": "margin of the evaluation",
    "eval_rewards/auc": "AUC of the evaluation",
}
_COLUMNS = ("loss", "rewards/margins", "rewards/chosen", "rewards/rejected", "kl")

Logs = Sequence[Mapping[str, Any]]


def sparkline(values: Sequence[float], cells: int = _CELLS) -> str:
    """The values from the first to the last, at most `cells` of them, each a mean of its neighbours.

    A dot stands where none was finite.
    """
    means = [_mean(part) for part in _parts(values, cells)]
    known = [mean for mean in means if mean is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    scale = (len(_BARS) - 1) / span if 0 < (span := high - low) < math.inf else 0.0
    return "".join(
        _GAP if mean is None else _BARS[round((mean - low) * scale) if scale else 0] for mean in means
    )


def curves(logs: Logs) -> list[str]:
    """Markdown lines: a sparkline of each metric of trainer.state.log_history, and a table of some steps."""
    rows = []
    for key, name in _SHOWN.items():
        values = [_number(entry[key]) for entry in logs if key in entry]
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            figures = " | ".join(
                f"{value:.4g}" for value in (values[0], min(finite), max(finite), values[-1])
            )
            rows.append(f"| {name} | {sparkline(values)} | {figures} |")
    if not rows:
        return []
    return ["| | | first | lowest | highest | last |", "|---|---|---|---|---|---|", *rows, "", *_steps(logs)]


def _steps(logs: Logs) -> list[str]:
    logged = [entry for entry in logs if "loss" in entry and "step" in entry]
    if not logged:
        return []
    heads = " | ".join(_COLUMNS)
    lines = [f"| step | {heads} |", "|---" * (1 + len(_COLUMNS)) + "|"]
    for entry in _thinned(logged):
        figures = " | ".join(f"{_number(entry[key]):.4g}" if key in entry else "" for key in _COLUMNS)
        lines.append(f"| {entry['step']} | {figures} |")
    return [*lines, ""]


def _thinned(logged: Logs) -> Iterable[Mapping[str, Any]]:
    """The first, the last, and some between."""
    last, most = len(logged) - 1, min(len(logged), _MOST_ROWS)
    return (logged[round(index * last / max(1, most - 1))] for index in range(most))


def _parts(values: Sequence[float], count: int) -> Iterable[Sequence[float]]:
    number = min(count, len(values))
    edges = [round(index * len(values) / number) for index in range(number + 1)] if number else [0]
    return (values[start:end] for start, end in itertools.pairwise(edges))


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
