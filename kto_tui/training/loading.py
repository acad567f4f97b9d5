"""Weights are read whole or not at all: what a file lacks, transformers and PEFT would make up at random."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel

from kto_tui.core.errors import UserError, one_line, printable

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


def attached(who: str, model: PreTrainedModel, adapter: Path) -> PeftModel:
    """The model with the adapter on it, in evaluation mode.

    `who` begins what is said of one that does not fit the model, or lacks weights: UserError.
    """
    try:
        tuned = PeftModel(model, PeftConfig.from_pretrained(str(adapter)))
        loaded: Any = tuned.load_adapter(str(adapter), ADAPTER)
    except _NOT_LOADED as error:
        raise UserError(f"{who} does not fit its base; {one_line(error)[:300]}") from error
    for key in loaded.unexpected_keys:
        raise UserError(f"{who} does not fit its base, which has no {printable(key)}")
    require_none_missing(f"{who} has", loaded.missing_keys)
    return tuned.eval()


def require_none_missing(who: str, missing: Iterable[str]) -> None:
    """Raises UserError where weights are missing; `who` ends in "has", or the like."""
    if lost := sorted(missing):
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise UserError(f"{who} no weights for {printable(lost[0])}{more}")
