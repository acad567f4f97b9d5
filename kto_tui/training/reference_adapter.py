"""An adapter that training goes on with, and its frozen twin, with which the model is the reference.

TRL makes the twin, of the name that `engine.py` has switched to where it computes as the reference.
"""

from pathlib import Path

import msgspec
import torch
from peft import PeftModel, load_peft_weights, set_peft_model_state_dict

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError, printable
from kto_tui.models.adapter import begun_with
from kto_tui.training.loading import ADAPTER, adapts_experts, attached
from kto_tui.training.model import Base

TWIN = "ref"


def going_on_with(base: Base, config: RunConfig) -> PeftModel:
    """The base with its adapter, to be trained on, with the dropout of the settings. Raises UserError."""
    assert base.adapter is not None
    name = printable(str(config.model))
    who = f"--model {name} holds an adapter that"
    if config.lora_dropout and adapts_experts(base.adapter):
        raise UserError(
            f"--model {name} holds an adapter of experts, which takes no dropout; found --lora-dropout "
            f"{config.lora_dropout:g}, expected 0"
        )
    begun_with(msgspec.structs.replace(config, model=str(base.adapter)), {"lora_rank", "lora_alpha"})
    return attached(
        who,
        base.model,
        base.adapter,
        inference_mode=False,
        lora_dropout=config.lora_dropout,
        lora_alpha=config.lora_alpha,  # As a whole number, also where the file has 16.0.
        base_model_name_or_path=base.name,
        revision=base.source.revision,
    )


def as_reference(model: torch.nn.Module, adapter: Path) -> None:
    """Have both begin as the adapter's file has it, in float32, and freeze the twin.

    TRL rounds what is trained to bfloat16 where the base is packed: policy and reference would begin apart.
    """
    assert isinstance(model, PeftModel)
    weights = load_peft_weights(str(adapter), device="cpu")
    for name, parameter in model.named_parameters():
        if f".{TWIN}." in name:
            parameter.requires_grad = False
            parameter.data = parameter.data.float()
    for name in (ADAPTER, TWIN):
        set_peft_model_state_dict(model, dict(weights), adapter_name=name)
