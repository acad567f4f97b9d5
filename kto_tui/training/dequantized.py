"""Weights that came packed, as the plain numbers that a run on them has computed with."""

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from kto_tui.core.errors import UserError, printable
from kto_tui.models.folder import packed_as
from kto_tui.training.loading import require_none_missing, whole_model
from kto_tui.training.packing import UNPACKED_LOADING

_UNPACKED_AFTERWARDS = ("bitsandbytes",)


def require_unpackable(who: str, folder: Path) -> None:
    """Refuse a model whose weights nothing here makes plain. `who` begins what is said: UserError."""
    method = packed_as(folder)
    if method in (None, *UNPACKED_LOADING, *_UNPACKED_AFTERWARDS):
        return
    raise UserError(
        f"{who}: its base is packed as {printable(str(method))}, and has no plain weights to merge into; use "
        "the adapter on top of it, or train on its unpacked twin"
    )


def plain_model(who: str, folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model in a folder in plain weights of this dtype, on the CPU, whether they came packed or not.

    Raises UserError, which begins with `who`, for a way of packing that is not unpacked here, and whatever
    loading raises.
    """
    require_unpackable(who, folder)
    method = packed_as(folder)
    if method is None:
        return whole_model(who, folder, dtype=dtype)
    options: dict[str, Any] = {"dtype": dtype, "device_map": {"": "cpu"}, "fills": True}
    if method in UNPACKED_LOADING:
        options["quantization_config"] = UNPACKED_LOADING[method]()
    packed = whole_model(who, folder, **options)
    if method in _UNPACKED_AFTERWARDS:
        packed = packed.dequantize(dtype)  # type: ignore[no-untyped-call]
    return _rebuilt(who, packed, dtype)


def _rebuilt(who: str, unpacked: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The same weights in a model that never was packed: the one that was cannot be saved."""
    config = copy.deepcopy(unpacked.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    loaded: Any = type(unpacked).from_pretrained(
        None, config=config, state_dict=unpacked.state_dict(), dtype=dtype, output_loading_info=True
    )
    model, found = loaded
    assert isinstance(model, PreTrainedModel)
    require_none_missing(f"{who}: unpacked, its files have", found["missing_keys"])
    return model
