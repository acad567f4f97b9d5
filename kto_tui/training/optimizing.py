"""An optimizer whose steps can be done again after the device ran out of memory."""

from collections.abc import Callable
from typing import Any

import torch

from kto_tui.training.recovery import Rows


class StepTorn(Exception):
    """An optimizer has moved some parameters and not the others."""


def guard(optimizer: torch.optim.Optimizer, rows: Rows) -> None:
    """Have `optimizer.step` give memory back, and try again, when it runs out.

    The gradients are still there, so nothing is passed through the model again. An optimizer allocates its
    state at its first step, parameter by parameter, and may have moved some before memory runs out; so the
    parameters are kept on the host until that step is done. Later steps of 8-bit and fused AdamW allocate
    nothing; one that failed all the same is done again if it had not moved anything, else StepTorn is raised.
    """
    plain_step: Callable[..., Any] = optimizer.step

    def step(closure: None = None) -> Any:
        kept = None if optimizer.state else _parameters(optimizer)
        before = _progress(optimizer)

        def put_back() -> None:
            if kept is None:
                if _progress(optimizer) != before:
                    raise StepTorn(
                        "memory ran out while the optimizer was at work, and a step cannot be done by half; "
                        "lower --batch-size and go on with --resume-from-checkpoint latest"
                    )
                return
            for parameter, value in kept:
                parameter.data.copy_(value)
            optimizer.state.clear()

        return rows.carry_out(lambda _: plain_step(closure), put_back)

    optimizer.step = step  # type: ignore[method-assign, assignment]


def _parameters(optimizer: torch.optim.Optimizer) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(parameter, parameter.detach().to("cpu", copy=True)) for parameter in _every(optimizer)]


def _every(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _progress(optimizer: torch.optim.Optimizer) -> list[int]:
    """What changes as soon as anything is moved: how often each tensor was written, and counts of steps."""
    figures = [parameter._version for parameter in _every(optimizer)]
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                figures.append(value._version)
            elif isinstance(value, int):  # bitsandbytes counts its steps so; its kernels write unseen.
                figures.append(value)
    return figures
