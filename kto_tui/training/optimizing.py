"""An optimizer whose steps can be done again after the device ran out of memory."""

from collections.abc import Callable
from typing import Any

import torch

from kto_tui.training.recovery import Rows


def guard(optimizer: torch.optim.Optimizer, rows: Rows) -> None:
    """Have `optimizer.step` give memory back, and try again, when it runs out.

    The gradients are still there, so nothing is passed through the model again. An optimizer allocates its
    state at its first step, parameter by parameter, and may have moved some before memory runs out; so the
    parameters are kept on the host until that step is done. Later steps of 8-bit and fused AdamW allocate
    nothing.
    """
    plain_step: Callable[..., Any] = optimizer.step

    def step(closure: None = None) -> Any:
        kept = None if optimizer.state else _parameters(optimizer)

        def put_back() -> None:
            if kept is None:
                return
            for parameter, value in kept:
                parameter.data.copy_(value)
            optimizer.state.clear()

        return rows.carry_out(lambda _: plain_step(closure), put_back)

    optimizer.step = step  # type: ignore[method-assign, assignment]


def _parameters(optimizer: torch.optim.Optimizer) -> list[tuple[torch.Tensor, torch.Tensor]]:
    every = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return [(parameter, parameter.detach().to("cpu", copy=True)) for parameter in every]
