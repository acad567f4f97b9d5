"""The adapter, the generators and the scale in a checkpoint: looked at before they are used."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from msgspec import Meta
from peft import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kto_tui.training.archive import kind, load, sized
from kto_tui.training.oddity import Whole, odd, typed

SCALER = "scaler.pt"
ADAPTER = "adapter_model.safetensors"
_LONGEST_NAME = 100
_MT19937_WORDS = 624


class _Scaler(msgspec.Struct):
    scale: Annotated[float, Meta(gt=0)]
    growth_factor: Annotated[float, Meta(gt=1)]
    backoff_factor: Annotated[float, Meta(gt=0, lt=1)]
    growth_interval: Annotated[int, Meta(ge=1)]
    _growth_tracker: Whole


class _Random(msgspec.Struct):
    python: Any
    numpy: Any
    cpu: Any
    cuda: Any = None


def check_tensors(checkpoint: Path) -> None:
    """Raise UserError for an adapter, generators or a scale that this program would not have written."""
    _check_adapter_numbers(checkpoint)
    if (checkpoint / SCALER).exists() and (scale := load(checkpoint, SCALER)) != {}:
        typed(checkpoint, SCALER, scale, _Scaler)
    for path in sorted(checkpoint.glob("rng_state*.pth")):
        _check_random(checkpoint, path.name)


def check_adapter_fits(checkpoint: Path, model: torch.nn.Module) -> None:
    """Raise UserError unless the saved adapter has the tensors of this PEFT model's.

    PEFT itself passes over what is missing or too much.
    """
    own = {name: tuple(value.shape) for name, value in _own_adapter(model).items()}
    with _opened(checkpoint) as file:
        saved = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    for name in sorted(own.keys() | saved.keys()):
        if own.get(name) != saved.get(name):
            found, wanted = (sized(shapes.get(name)) for shapes in (saved, own))
            raise odd(checkpoint, ADAPTER, f"{_cut(name)}: {found}", f"{wanted}, as the model's adapter has")


def _own_adapter(model: torch.nn.Module) -> dict[str, Tensor]:
    state: dict[str, Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return state


def _check_adapter_numbers(checkpoint: Path) -> None:
    with _opened(checkpoint) as file:
        for name in file.keys():  # noqa: SIM118
            value = file.get_tensor(name)
            if not value.is_floating_point():
                raise odd(checkpoint, ADAPTER, f"{_cut(name)} in {kind(value)}", "numbers in float32")
            if not bool(torch.isfinite(value).all()):
                raise odd(checkpoint, ADAPTER, f"numbers in {_cut(name)} that are not finite", "finite ones")


@contextmanager
def _opened(checkpoint: Path) -> Iterator[Any]:
    try:
        with safe_open(checkpoint / ADAPTER, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise odd(checkpoint, ADAPTER, "a damaged file", "tensors as safetensors writes them") from error


def _check_random(checkpoint: Path, file: str) -> None:
    """Whether the generators take the states: tried on others than those that training draws from."""
    saved = typed(checkpoint, file, load(checkpoint, file), _Random)
    generators: dict[str, Callable[[], object]] = {
        "python": lambda: random.Random().setstate(saved.python),
        "numpy": lambda: _numpy_takes(saved.numpy),
        "cpu": lambda: torch.Generator().set_state(saved.cpu),
        "cuda": lambda: _cuda_takes(saved.cuda),
    }
    for name, take in generators.items():
        try:
            take()
        except (TypeError, ValueError, IndexError, KeyError, OverflowError, AttributeError, RuntimeError):
            found = f"a state that the generator {name} does not take"
            raise odd(checkpoint, file, found, "one that it has given") from None


def _numpy_takes(state: Any) -> None:
    np.random.RandomState().set_state(state)
    if not 0 <= state[2] <= _MT19937_WORDS:
        raise ValueError(f"position {state[2]}")


def _cuda_takes(state: Any) -> None:
    """A state for one device, or a list of them. They are only tried where there is one."""
    for each in state if isinstance(state, list) else [state] if state is not None else []:
        if not isinstance(each, Tensor) or each.dtype != torch.uint8:
            raise TypeError(type(each).__name__)
        if torch.cuda.is_available():
            torch.Generator("cuda").set_state(each)


def _cut(name: str) -> str:
    """A tensor's name by its end, which tells layers apart."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[-_LONGEST_NAME:]}"
