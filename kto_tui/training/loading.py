"""Weights are read whole or not at all: what a file lacks, transformers and PEFT would make up at random."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.utils import parametrize
from transformers import AutoModelForCausalLM, PreTrainedModel

from kto_tui.core.compatibility import ADAPTER_CONFIG
from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.models.folder import read_json
from kto_tui.training.archive import sized

ADAPTER = "default"
_NOT_LOADED = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError)


def whole_model(who: str, folder: Path, *, fills: bool = False, **options: Any) -> PreTrainedModel:
    """The causal model in a folder. `who` begins what is said of one that lacks weights: UserError.

    `fills`: weights are packed, under names of their own, so that what is missing says nothing.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=False,
        weights_only=True,
        output_loading_info=True,
        **options,
    )
    model, found = loaded
    assert isinstance(model, PreTrainedModel)
    if not fills:
        require_none_missing(f"{who}: its files have", found["missing_keys"])
    return model


def attached(who: str, model: PreTrainedModel, adapter: Path, **settings: Any) -> PeftModel:
    """The model with the adapter on it, in evaluation mode; `settings` stand in for some of its own.

    `who` begins what is said of one that does not fit the model, or lacks weights: UserError.
    """
    if adapts_experts(adapter) and any(map(parametrize.is_parametrized, model.modules())):
        # PEFT 0.21 would add to them again at each pass, and take nothing away.
        raise UserError(f"{who} is one of experts, which are packed here; load the base unpacked")
    try:
        own = PeftConfig.from_pretrained(str(adapter))
        for name, value in settings.items():
            setattr(own, name, value)
        tuned = PeftModel(model, own)
        loaded: Any = tuned.load_adapter(str(adapter), ADAPTER)
    except _NOT_LOADED as error:
        raise UserError(f"{who} does not fit its base; {one_line(error)[:300]}") from error
    for key in loaded.unexpected_keys:
        raise UserError(f"{who} does not fit its base, which has no {printable(key)}")
    require_none_missing(f"{who} has", loaded.missing_keys)
    return tuned.eval()


def adapts_experts(adapter: Path) -> bool:
    """Whether an adapter is, in part, one of stacked experts."""
    return bool(read_json(adapter / ADAPTER_CONFIG).get("target_parameters"))


def require_fit(who: str, skeleton: PreTrainedModel, adapter: Path) -> None:
    """Raise UserError unless an adapter in safetensors has the weights that this model without any takes."""
    try:
        tuned = PeftModel(skeleton, PeftConfig.from_pretrained(str(adapter)))
        state: dict[str, Tensor] = get_peft_model_state_dict(tuned, save_embedding_layers=False)
        with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except _NOT_LOADED as error:
        raise UserError(f"{who} does not fit its base; {one_line(error)[:300]}") from error
    wanted = {name: tuple(value.shape) for name, value in state.items()}
    for name in sorted(found.keys() - wanted.keys()):
        raise UserError(f"{who} does not fit its base, which has no {printable(name)}")
    require_none_missing(f"{who} has", wanted.keys() - found.keys())
    for name, shape in sorted(found.items()):
        if shape != wanted[name]:
            sizes = f"{sized(shape)}, expected {sized(wanted[name])}"
            raise UserError(f"{who} does not fit its base: {printable(name)} is {sizes}")


def require_none_missing(who: str, missing: Iterable[str]) -> None:
    """Raises UserError where weights are missing; `who` ends in "has", or the like."""
    if lost := sorted(missing):
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise UserError(f"{who} no weights for {printable(lost[0])}{more}")
