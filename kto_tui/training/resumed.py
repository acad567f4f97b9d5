"""What the checkpoint that a sitting goes on from says of itself, in its trainer state."""

import json
import math
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.core.events import Metrics

ACCUMULATORS_NAME = "accumulators.json"
_NEEDED = (
    "adapter_model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "trainer_state.json",
    "rng_state*.pth",
)


def accumulators(checkpoint: Path) -> dict[str, Any]:
    """What the trainer had summed up; empty where the checkpoint has nothing of it. Raises UserError."""
    path = checkpoint / ACCUMULATORS_NAME
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        saved = None
    if not isinstance(saved, dict):
        raise UserError(
            f"--resume-from-checkpoint {checkpoint}: {path.name} is damaged; resume from another checkpoint"
        )
    return saved


def check_files(checkpoint: Path) -> None:
    """Raise UserError unless all is there that training goes on with: a manifest may not even list it."""
    missing = [name for name in _NEEDED if not any(checkpoint.glob(name))]
    if missing:
        raise UserError(
            f"--resume-from-checkpoint {checkpoint}: {missing[0]} is missing; resume from another checkpoint"
        )


def resumed_step(checkpoint: Path) -> int:
    """Its optimizer step. Raises UserError."""
    state = _trainer_state(checkpoint)
    return int(state["global_step"])


def last_metrics(checkpoint: Path) -> Metrics:
    """Metrics of the newest training step that it has logged; none where it has logged none."""
    logged = [entry for entry in _trainer_state(checkpoint).get("log_history", ()) if "loss" in entry]
    return finite(logged[-1]) if logged else {}


def finite(values: dict[str, Any]) -> Metrics:
    """The numbers among the values; None for those that are not finite."""
    numbers = {key: float(value) for key, value in values.items() if isinstance(value, (int, float))}
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}


def _trainer_state(checkpoint: Path) -> dict[str, Any]:
    path = checkpoint / "trainer_state.json"
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return {**state, "global_step": int(state["global_step"])}
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise UserError(
            f"--resume-from-checkpoint {checkpoint}: found no readable {path.name}; "
            "resume from another checkpoint"
        ) from None


@contextmanager
def loading(checkpoint: str | None, files: str) -> Iterator[None]:
    """Files of tensors and numbers are read, nothing else: torch refuses all other objects, unseen."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise UserError(
            f"--resume-from-checkpoint {checkpoint}: {files} holds more than tensors and numbers, which is "
            "never loaded; resume from another checkpoint"
        ) from error
