"""An adapter that training goes on with, and its frozen twin, with which the model is the reference.

TRL makes the twin, of the name that `engine.py` has switched to where it computes as the reference.
"""

from pathlib import Path

import torch
from peft import PeftModel, load_peft_weights, set_peft_model_state_dict

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError, printable
from kto_tui.training.loading import ADAPTER, attached
from kto_tui.training.model import Base
from kto_tui.training.targets import stacked

TWIN = "ref"


def going_on_with(base: Base, config: RunConfig) -> PeftModel:
    """The base with its adapter, to be trained on, with the dropout of the settings. Raises UserError."""
    assert base.adapter is not None
    name = printable(str(config.model))
    who = f"--model {name} holds an adapter that"
    if config.lora_dropout and stacked(base.model):
        raise UserError(
            f"--model {name} holds an adapter of a mixture of experts; found --lora-dropout "
            f"{config.lora_dropout:g}, expected 0"
        )
    return attached(
        who,
        base.model,
        base.adapter,
        inference_mode=False,
        lora_dropout=config.lora_dropout,
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
