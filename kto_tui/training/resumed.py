"""What the checkpoint that a sitting goes on from says of itself, in its trainer state."""

import dataclasses
import json
import math
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from transformers import TrainerState

from kto_tui.core.errors import UserError
from kto_tui.core.events import Metrics
from kto_tui.core.manifest import Damaged, read_manifest
from kto_tui.training.archive import refused
from kto_tui.training.moments import check_moments
from kto_tui.training.oddity import Whole, odd, typed
from kto_tui.training.saved_tensors import check_tensors

ACCUMULATORS_NAME = "accumulators.json"
STATE_NAME = "trainer_state.json"
_NEEDED = (
    "adapter_model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    STATE_NAME,
    "rng_state*.pth",
)

_AtLeastOne = Annotated[int, Meta(ge=1, le=2**53)]


class _Rewards(msgspec.Struct):
    rewards: list[float | None]
    labels: list[bool]

    def __post_init__(self) -> None:
        if len(self.rewards) != len(self.labels):
            raise ValueError(f"{len(self.rewards)} rewards and {len(self.labels)} labels")


class _RowsAtOnce(msgspec.Struct):
    training: _AtLeastOne
    evaluation: _AtLeastOne


class _EarlyStopping(msgspec.Struct):
    best_step: Whole | None
    best_loss: float | None
    since_best: Whole
    last_step: Whole | None


class _Accumulators(msgspec.Struct):
    """What `SteeredTrainer` writes. Older versions had less of it."""

    loss: float
    last_logged_step: Whole
    num_tokens: Whole
    metrics: dict[str, tuple[float, float]]
    rewards: _Rewards
    rows_at_once: _RowsAtOnce
    gradient_checkpointing: bool | UnsetType = UNSET
    early_stopping: _EarlyStopping | None = None
    best_home: str | None = None
    skips: tuple[Whole, Whole, Whole, Whole] | None = None
    data: str | None = None
    evaluation_data: str | None = None
    base: str | None = None
    resolved: dict[str, Any] | None = None
    evaluation_due: bool = False

    def __post_init__(self) -> None:
        if "\0" in (self.best_home or ""):
            raise ValueError("best_home with a NUL, as no path has it")


class _Callbacks(msgspec.Struct):
    TrainerControl: Any


class _TrainerState(msgspec.Struct):
    """What of transformers' TrainerState is read as training goes on."""

    global_step: Whole
    max_steps: Whole
    stateful_callbacks: _Callbacks
    epoch: float | None = None
    log_history: list[dict[str, Any]] | None = None
    total_flos: float = 0.0
    num_input_tokens_seen: Whole = 0
    train_batch_size: _AtLeastOne | None = None
    num_train_epochs: float = 0.0
    logging_steps: float = 1
    eval_steps: float = 1
    save_steps: float = 1
    best_metric: float | None = None
    best_global_step: Whole | None = None
    best_model_checkpoint: str | None = None
    is_local_process_zero: bool = True
    is_world_process_zero: bool = True
    is_hyper_param_search: bool = False
    trial_name: str | None = None
    trial_params: dict[str, Any] | None = None


def accumulators(checkpoint: Path) -> dict[str, Any]:
    """What the trainer had summed up; empty where the checkpoint has nothing of it. Raises UserError."""
    path = checkpoint / ACCUMULATORS_NAME
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        raise odd(checkpoint, path.name, "no JSON that can be read", "sums as JSON") from None
    if saved == {}:
        return {}
    typed(checkpoint, path.name, saved, _Accumulators)
    plain: dict[str, Any] = saved
    return plain


def check_files(checkpoint: Path) -> None:
    """Raise UserError unless all is there that training goes on with, and of the kind that it takes.

    A manifest may not even list it, and whoever signs one may have written anything. That the tensors are
    those of this model is for `moments.check_fit` and
    `saved_tensors.check_adapter_fits`, once the model is there.
    """
    missing = [name for name in _NEEDED if not any(checkpoint.glob(name))]
    if missing:
        raise UserError(
            f"--resume-from-checkpoint {checkpoint}: {missing[0]} is missing; resume from another checkpoint"
        )
    step = resumed_step(checkpoint)
    logged = accumulators(checkpoint).get("last_logged_step", 0)
    if logged > step:
        raise odd(checkpoint, ACCUMULATORS_NAME, f"last_logged_step {logged}", f"one up to step {step}")
    check_moments(checkpoint, step)
    check_tensors(checkpoint)


def resumed_step(checkpoint: Path) -> int:
    """Its optimizer step. Raises UserError."""
    step = int(_trainer_state(checkpoint)["global_step"])
    try:
        signed = read_manifest(checkpoint).step
    except Damaged:
        return step
    if signed != step:
        raise odd(checkpoint, STATE_NAME, f"global_step {step}", f"{signed}, as its manifest says")
    return step


def last_metrics(checkpoint: Path) -> Metrics:
    """Metrics of the newest training step that it has logged; none where it has logged none."""
    logged = [entry for entry in _trainer_state(checkpoint).get("log_history") or () if "loss" in entry]
    return finite(logged[-1]) if logged else {}


def finite(values: dict[str, Any]) -> Metrics:
    """The numbers among the values; None for those that are not finite."""
    numbers = {key: value for key, value in values.items() if isinstance(value, (int, float))}
    return {key: _float(value) for key, value in numbers.items()}


def _float(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _trainer_state(checkpoint: Path) -> dict[str, Any]:
    path = checkpoint / STATE_NAME
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise odd(checkpoint, path.name, "no JSON that can be read", "the trainer's state as JSON") from None
    typed(checkpoint, path.name, state, _TrainerState)
    known = {field.name for field in dataclasses.fields(TrainerState)}
    if strange := sorted(state.keys() - known):
        raise odd(checkpoint, path.name, strange[0][:60], "only what this transformers' TrainerState has")
    plain: dict[str, Any] = state
    return plain


@contextmanager
def loading(checkpoint: str | None, files: str) -> Iterator[None]:
    """Files of tensors and numbers are read, nothing else: torch refuses all other objects, unseen."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise refused(checkpoint, files) from error
