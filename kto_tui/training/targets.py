"""Which layers get adapters: every linear layer, or those that the settings name."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch.nn.utils import parametrize
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from kto_tui.core.config import ALL_LINEAR, RunConfig
from kto_tui.core.errors import UserError
from kto_tui.core.setting import shown

_MOST_LISTED = 20
# What stands beside the experts in their layers: gates, routers, experts that every token passes.
_OF_EXPERTS = re.compile(r"\.(mlp|moe|block_sparse_moe|feed_forward|experts?|shared_experts?)(\.|$)")


@dataclass(frozen=True)
class Targets:
    """What PEFT is to adapt: names of layers, or its word for all of them; and names of stacked weights."""

    modules: str | list[str]
    parameters: list[str]


EVERY_LINEAR = Targets(ALL_LINEAR, [])


def choose_targets(config: RunConfig, model: PreTrainedModel) -> Targets:
    """The layers that `config` asks for, in this model.

    all-linear means every linear layer of the part that reads text, but its head. In a mixture of experts it
    means attention's alone: experts are stacked in one weight, and adapters for each would outgrow the rest
    many times over. They can be asked for by name. Raises UserError for names that the model does not have,
    and for those of its head and its embeddings.
    """
    if config.lora_target_modules != ALL_LINEAR:
        return _named(config, model)
    linear = linear_layers(model)
    if len(linear) == sum(_is_linear(module) for _, module in _without_head(model)) and not stacked(model):
        return EVERY_LINEAR
    return Targets(_shortest(linear, model), [])


def _shortest(linear: Mapping[str, object], model: PreTrainedModel) -> list[str]:
    """The last words of their names, unless other layers end in the same."""
    last = {name.rpartition(".")[2] for name in linear}
    others = {name.rpartition(".")[2] for name, _ in model.named_modules() if name not in linear}
    return sorted(linear) if last & others else sorted(last)


def linear_layers(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """Linear layers that all-linear means, by their full names."""
    others = _parts_without_text(model)
    mixture = bool(stacked(model))
    return {
        name: module
        for name, module in _without_head(model)
        if _is_linear(module)
        and not name.startswith(others)
        and not (mixture and _OF_EXPERTS.search(f".{name}"))
    }


def stacked(model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """Shapes, (experts, …, …), of the weights of all experts of a layer in one, by their full names.

    As they are computed with, where they lie packed.
    """
    whole = {name: tuple(p.shape) for name, p in model.named_parameters() if is_stacked(name, p)}
    return whole | {name: shape for name, shape, _ in _packed(model)}


def _packed(model: PreTrainedModel) -> Iterator[tuple[str, tuple[int, ...], int]]:
    """Full name and shape of each stacked weight that lies packed, and in how many bytes."""
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for last, steps in module.parametrizations.items():
                if state := getattr(steps[0], "quant_state", None):
                    yield f"{name}.{last}", tuple(state.shape), steps.original.numel()


def all_parameters(model: PreTrainedModel) -> int:
    """How many parameters a model has, packed ones as they are computed with."""
    # transformers knows of packed linear layers only.
    return model.num_parameters() + sum(math.prod(shape) - held for _, shape, held in _packed(model))


def packs_experts(model: PreTrainedModel) -> bool:
    """Whether the weights of experts lie packed."""
    return any(_packed(model))


def is_stacked(name: str, weight: torch.Tensor) -> bool:
    """Whether a weight, by its full name, is one of all experts of a layer, and not packed."""
    return (
        ".experts." in name
        and "parametrizations" not in name
        and weight.ndim == 3
        and weight.is_floating_point()
    )


def adapter_parameters(model: PreTrainedModel, rank: int, chosen: Targets = EVERY_LINEAR) -> int:
    """How many parameters adapters of this rank will have."""
    linear = linear_layers(model)
    wanted = chosen.modules if isinstance(chosen.modules, list) else list(linear)
    sides = [sum(_sides(module)) for name, module in linear.items() if _is_one_of(name, wanted)]
    for name, (count, *pair) in stacked(model).items():
        if _is_one_of(name, chosen.parameters):
            sides.append(count * sum(pair))
    return rank * sum(sides)


def _named(config: RunConfig, model: PreTrainedModel) -> Targets:
    names = list(dict.fromkeys(filter(None, map(str.strip, config.lora_target_modules.split(",")))))
    for name in names:
        _check_no_end(name, model)
    linear, experts = linear_layers(model), stacked(model)
    for name in names:
        if not any(_is_one_of(full, [name]) for full in (*linear, *experts)):
            raise UserError(_unknown(name, [*linear, *experts]))
    if not names:
        raise UserError("--lora-target-modules: found no name; expected all-linear, or names of layers")
    chosen = [name for name in names if any(_is_one_of(full, [name]) for full in experts)]
    if chosen and config.lora_dropout:
        raise UserError(
            f"--lora-target-modules: {shown(chosen[0])} is a weight of many experts, whose adapters take no "
            f"dropout; found --lora-dropout {config.lora_dropout:g}, expected 0"
        )
    return Targets(_alone([name for name in names if name not in chosen], linear, model), chosen)


def _alone(names: list[str], linear: Mapping[str, object], model: PreTrainedModel) -> list[str]:
    """The names, or the full ones of the layers they mean, where layers that read no text bear them, too."""
    others = (name for name, _ in model.named_modules() if name not in linear)
    if not any(_is_one_of(name, names) for name in others):
        return names
    return sorted(name for name in linear if _is_one_of(name, names))


def _check_no_end(name: str, model: PreTrainedModel) -> None:
    """Refuse the layers at both ends of the model. Raises UserError."""
    ends = (
        (model.get_output_embeddings(), "head"),  # type: ignore[no-untyped-call]
        (model.get_input_embeddings(), "embedding"),
    )
    for full, module in model.named_modules():
        for end, what in ends:
            if module is end and _is_one_of(full, [name]):
                raise UserError(
                    f"--lora-target-modules: {shown(name)} is the model's {what}, which takes no adapter: "
                    "log-probabilities are computed piece by piece from the head's own weights, which policy "
                    "and reference share (often with the embeddings); name layers in between"
                )


def _unknown(name: str, there: list[str]) -> str:
    words = 2 if ".experts." in "".join(there) else 1
    known = list(dict.fromkeys(".".join(full.split(".")[-words:]) for full in there))
    listed = ", ".join(known[:_MOST_LISTED]) + (", …" if len(known) > _MOST_LISTED else "")
    return f"--lora-target-modules: the model has no {shown(name)}; it has {listed}"


def _is_one_of(full: str, names: list[str]) -> bool:
    """PEFT's rule: a name is the end of the full one, in whole words."""
    return any(full == name or full.endswith(f".{name}") for name in names)


def _without_head(model: PreTrainedModel) -> Iterator[tuple[str, torch.nn.Module]]:
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return ((name, module) for name, module in model.named_modules() if module is not head)


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, (torch.nn.Linear, Conv1D))


def _sides(module: torch.nn.Module) -> tuple[int, int]:
    """What goes in and what comes out; packed weights have another shape."""
    if isinstance(module, torch.nn.Linear):
        return module.in_features, module.out_features
    assert isinstance(module, Conv1D)
    return int(module.weight.shape[0]), int(module.weight.shape[1])


def _parts_without_text(model: PreTrainedModel) -> tuple[str, ...]:
    """Beginnings of the names of what reads pictures or sound; none for models of text alone."""
    if model.config.get_text_config() is model.config:
        return ()
    inner = model.base_model
    text = getattr(inner, "language_model", None)
    if text is None:
        return ()
    prefix = next(name for name, module in model.named_modules() if module is inner)
    children = (f"{prefix}.{name}".strip(".") for name, child in inner.named_children() if child is not text)
    return tuple(f"{name}." for name in children) + tuple(
        f"{prefix}.{name}".strip(".") for name, child in inner.named_children() if _is_linear(child)
    )
