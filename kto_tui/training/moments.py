"""The moments and the schedule in a checkpoint: looked at before an optimizer takes them up.

Whoever signs a checkpoint may put anything into them. Moments of another shape would have the optimizer's
fused kernels write beside their memory.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from kto_tui.training.archive import described, kind, load, shape
from kto_tui.training.oddity import Whole, odd, shown_value, typed

OPTIMIZER, SCHEDULE = "optimizer.pt", "scheduler.pt"
_BNB_PARTS = "__bnb_optimizer_quant_state__"  # bitsandbytes puts its moments one level down.
_MOMENTS = (("exp_avg", "exp_avg_sq"), ("state1", "state2"))
# What the settings or the device decide, and what is set again after loading.
_GO_THEIR_OWN_WAY = frozenset(
    {"params", "lr", "initial_lr", "weight_decay", "fused", "foreach", "capturable"}
)


class _Group(msgspec.Struct):
    params: list[Whole]
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    fused: bool | None = None
    foreach: bool | None = None
    capturable: bool | None = None


class _Optimizer(msgspec.Struct):
    state: dict[int, Any]
    param_groups: list[_Group]


class _Schedule(msgspec.Struct):
    last_epoch: Whole
    lr_lambdas: list[dict[str, Any] | None]
    base_lrs: list[float]
    _step_count: Whole
    _last_lr: list[float]


def check_moments(checkpoint: Path, step: int) -> None:
    """Raise UserError for moments or a schedule that this program would not have written at that step."""
    _check_optimizer(checkpoint, step)
    schedule = typed(checkpoint, SCHEDULE, load(checkpoint, SCHEDULE), _Schedule)
    if schedule.last_epoch > step:
        raise odd(checkpoint, SCHEDULE, f"step {schedule.last_epoch}", f"one up to {step}, the checkpoint's")


def check_fit(
    checkpoint: Path, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LambdaLR
) -> None:
    """Raise UserError unless the saved moments and schedule are those of these, group by group."""
    saved = _load_optimizer(checkpoint)
    own, groups = optimizer.param_groups, saved["param_groups"]
    found, wanted = ([len(group["params"]) for group in side] for side in (groups, own))
    if found != wanted:
        raise odd(checkpoint, OPTIMIZER, f"groups of {found} parameters", f"{wanted}, as the model has")
    for group, fresh in zip(groups, own, strict=True):
        _check_options(checkpoint, group, fresh)
        for number, parameter in zip(group["params"], fresh["params"], strict=True):
            _check_shape(checkpoint, number, saved["state"].get(number, {}), parameter)
    _check_schedule_fits(checkpoint, schedule)


def _check_options(checkpoint: Path, group: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    for name in group.keys() & own.keys() - _GO_THEIR_OWN_WAY:
        found, wanted = group[name], own[name]
        if found != wanted and list(np.atleast_1d(found)) != list(np.atleast_1d(wanted)):
            raise odd(checkpoint, OPTIMIZER, f"{name} {_option(found)}", _option(wanted))


def _option(value: Any) -> str:
    return " ".join(map(shown_value, value)) if isinstance(value, (list, tuple)) else shown_value(value)


def _check_shape(checkpoint: Path, number: int, state: Mapping[str, Any], parameter: Tensor) -> None:
    for name in (name for names in _MOMENTS for name in names if name in state):
        if state[name].shape != parameter.shape:
            found = f"{name} of parameter {number} with the shape {shape(state[name])}"
            raise odd(checkpoint, OPTIMIZER, found, f"{shape(parameter)}, as the model's adapter has")


def _check_schedule_fits(checkpoint: Path, schedule: torch.optim.lr_scheduler.LambdaLR) -> None:
    saved, own = load(checkpoint, SCHEDULE), schedule.state_dict()
    if strange := sorted(saved.keys() - own.keys() - {"verbose"}):
        raise odd(checkpoint, SCHEDULE, strange[0][:60], "what a schedule of the learning rate holds")
    for name in ("lr_lambdas", "base_lrs", "_last_lr"):
        if len(saved[name]) != len(own[name]):
            found = f"{len(saved[name])} entries of {name}"
            raise odd(checkpoint, SCHEDULE, found, f"{len(own[name])}, one for each group of parameters")
    for entry in saved["lr_lambdas"]:
        if entry:
            raise odd(checkpoint, SCHEDULE, "values inside lr_lambdas", "none")


def _check_optimizer(checkpoint: Path, step: int) -> None:
    saved = typed(checkpoint, OPTIMIZER, _load_optimizer(checkpoint), _Optimizer)
    numbers = [number for group in saved.param_groups for number in group.params]
    if numbers != list(range(len(numbers))):
        raise odd(checkpoint, OPTIMIZER, "parameters out of their order", f"0 to {len(numbers) - 1}")
    if strange := sorted(saved.state.keys() - set(numbers)):
        raise odd(checkpoint, OPTIMIZER, f"moments of parameter {strange[0]}", f"of 0 to {len(numbers) - 1}")
    for number, state in saved.state.items():
        if not isinstance(state, dict):
            raise odd(checkpoint, OPTIMIZER, f"{shown_value(state)} for parameter {number}", "its moments")
        _check_moments(checkpoint, number, state, step)


def _check_moments(checkpoint: Path, number: int, state: Mapping[str, Any], step: int) -> None:
    """One parameter's state: how often it was moved, and two moments of one shape."""
    taken = state.get("step")
    count = taken.item() if isinstance(taken, Tensor) and taken.numel() == 1 else taken
    if isinstance(count, bool) or not isinstance(count, (int, float)) or not 0 <= count <= step:
        found = f"step {shown_value(count)} of parameter {number}"
        raise odd(checkpoint, OPTIMIZER, found, f"a number from 0 to {step}, the checkpoint's")
    names = next((names for names in _MOMENTS if names[0] in state), _MOMENTS[0])
    if names[0] == "state1" and not isinstance(taken, int):  # bitsandbytes hands it to its kernels as it is.
        raise odd(checkpoint, OPTIMIZER, f"step {shown_value(taken)} of parameter {number}", "a whole number")
    for name in names:
        _check_moment(checkpoint, f"{name} of parameter {number}", state.get(name), second=name == names[1])
    if state[names[0]].shape != state[names[1]].shape:
        found = " and ".join(shape(state[name]) for name in names)
        raise odd(checkpoint, OPTIMIZER, f"moments of parameter {number} of the shapes {found}", "one shape")
    _check_packed(checkpoint, number, state, names)


def _check_moment(checkpoint: Path, name: str, value: Any, *, second: bool) -> None:
    if (
        not isinstance(value, Tensor)
        or value.layout != torch.strided
        or value.device.type != "cpu"
        or not value.is_contiguous()
    ):
        found = "nothing" if value is None else shown_value(value)
        raise odd(checkpoint, OPTIMIZER, f"{name}: {found}", "a plain tensor")
    if not (value.is_floating_point() or value.dtype == torch.uint8):
        raise odd(checkpoint, OPTIMIZER, f"{name} in {kind(value)}", "numbers in float32, or packed in uint8")
    if not bool(torch.isfinite(value).all()):
        raise odd(checkpoint, OPTIMIZER, f"numbers in {name} that are not finite", "finite ones")
    if second and value.is_floating_point() and value.numel() and float(value.min()) < 0:
        raise odd(checkpoint, OPTIMIZER, f"negative numbers in {name}", "squares, which are none")


def _check_packed(checkpoint: Path, number: int, state: Mapping[str, Any], names: tuple[str, str]) -> None:
    """8-bit moments: the values that the 256 codes stand for, and the largest number of each block of 256."""
    for place, name in enumerate(names, 1):
        if state[name].dtype != torch.uint8:
            continue
        blocks = math.ceil(state[name].numel() / 256)
        for part, size in ((f"qmap{place}", 256), (f"absmax{place}", blocks)):
            value = state.get(part)
            if not isinstance(value, Tensor) or value.dtype != torch.float32 or value.shape != (size,):
                found = f"{part} of parameter {number}: {described(value)}"
                raise odd(checkpoint, OPTIMIZER, found, f"{size} numbers in float32")


def _load_optimizer(checkpoint: Path) -> Any:
    """The optimizer's state, with bitsandbytes' moments where torch has its own."""
    saved = load(checkpoint, OPTIMIZER)
    states = saved.get("state") if isinstance(saved, dict) else None
    for state in states.values() if isinstance(states, dict) else ():
        if isinstance(state, dict) and isinstance(state.get(_BNB_PARTS), dict):
            state.update(state.pop(_BNB_PARTS))
    return saved
