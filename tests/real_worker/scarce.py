"""A device with little memory, as a sitting meets it: torch.OutOfMemoryError out of real passes."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch

from kto_tui.core.config import RunConfig
from kto_tui.core.events import Event, StageChanged
from kto_tui.training import work
from tests.real_worker.harness import OnEvent, Sitting, both, sit

Where = Literal["forward", "backward", "reference", "mismatched", "evaluation"]
MESSAGE = "CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation for memory management."


@dataclass
class Scarce:
    """Passes of one kind run out of memory with more than `fits` rows, from the call `first` on, 0 the first.

    `times`: how often at most. `met`: the rows of each pass of the kind, in their order.
    """

    where: Where
    fits: int = 0
    first: int = 0
    times: int = 10_000

    def __post_init__(self) -> None:
        self.met: list[int] = []
        self._evaluating = False

    def install(self, model: Any) -> None:
        """Listen at the first layer: on the way back, those above have left their gradients by then."""
        layer = model.model.layers[0]
        self._attention = layer.self_attn
        layer.mlp.register_forward_pre_hook(lambda _, inputs: self._on_the_way(inputs[0].shape[0]))
        layer.register_forward_hook(lambda _, __, output: self._listen_on_the_way_back(output))

    def hear(self, event: Event, _: Sitting) -> None:
        if isinstance(event, StageChanged):
            self._evaluating = event.stage == "evaluating"

    def _on_the_way(self, rows: int) -> None:
        if self.where == self._kind():
            self._meet(rows)

    def _listen_on_the_way_back(self, output: Any) -> None:
        if self.where == "backward" and torch.is_grad_enabled():
            output.register_hook(lambda gradient: self._meet(gradient.shape[0]))

    def _kind(self) -> Where:
        if self._evaluating:
            return "evaluation"
        if torch.is_grad_enabled():
            return "forward"
        layer = self._attention.q_proj
        return "reference" if layer.disable_adapters or "ref" in layer.active_adapters else "mismatched"

    def _meet(self, rows: int) -> None:
        self.met.append(rows)
        if len(self.met) > self.first and rows > self.fits and self.times:
            self.times -= 1
            raise torch.OutOfMemoryError(MESSAGE)


@contextlib.contextmanager
def patched(target: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, name, make(getattr(target, name)))
        yield


def sit_scarcely(config: RunConfig, scarce: Scarce, on_event: OnEvent = lambda *_: None) -> Sitting:
    """A sitting on that device."""

    def loading(load: Callable[..., Any]) -> Callable[..., Any]:
        def load_and_listen(*args: Any) -> Any:
            base = load(*args)
            scarce.install(base.model)
            return base

        return load_and_listen

    with patched(work, "load_base", loading):
        return sit(config, both(scarce.hear, on_event))


def failing_at(call: int, times: int = 1) -> Callable[[Any], Any]:
    """Makes a method raise instead of its call of that number, 0 the first, and so many after it."""
    calls = iter(range(1_000_000))

    def make(method: Any) -> Any:
        def stand_in(*args: Any, **kwargs: Any) -> Any:
            if call <= next(calls) < call + times:
                raise torch.OutOfMemoryError(MESSAGE)
            return method(*args, **kwargs)

        return stand_in

    return make
