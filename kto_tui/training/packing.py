"""How a base's weights are stored: as they came, packed to 8 or 4 bits, or unpacked."""

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PretrainedConfig, PreTrainedModel
from transformers.utils.quantization_config import FineGrainedFP8Config, Mxfp4Config

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError, printable
from kto_tui.core.events import AlertRaised
from kto_tui.core.sizes import format_size
from kto_tui.models.folder import packed_as, read_json
from kto_tui.training.targets import is_stacked

logger = logging.getLogger(__name__)

NF4_FROM_PARAMETERS = 2.5e9
# What transformers unpacks as it loads.
UNPACKED_LOADING: dict[str, Callable[[], Mxfp4Config | FineGrainedFP8Config]] = {
    "mxfp4": lambda: Mxfp4Config(dequantize=True),
    "fp8": lambda: FineGrainedFP8Config(dequantize=True),
}


def choose_quantization(config: RunConfig, settings: PretrainedConfig, *, of_experts: bool = False) -> str:
    """How the weights will be stored: as asked; auto is nf4 for large models on CUDA, else none.

    Weights that came packed stay so, but for those that no gradient passes: MXFP4 (gpt-oss), which is packed
    anew where that is nf4, and FP8. `of_experts`: experts get adapters, and are not packed.
    """
    if packed := getattr(settings, "quantization_config", None):
        method = packed.get("quant_method") if isinstance(packed, dict) else packed.quant_method
        name = str(getattr(method, "value", method))
        if name not in UNPACKED_LOADING:
            return name
        if name == "fp8":
            return "none"
        if of_experts or config.quantization == "int8":
            return "none"
    if config.quantization != "auto":
        return config.quantization
    if not torch.cuda.is_available():
        return "none"
    return "nf4" if skeleton(settings).num_parameters() > NF4_FROM_PARAMETERS else "none"


def skeleton(settings: PretrainedConfig) -> PreTrainedModel:
    """The model without weights."""
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(settings)  # type: ignore[no-untyped-call]
    assert isinstance(made, PreTrainedModel)
    return made


def check_packing(name: str, model: PreTrainedModel, quantization: str) -> None:
    """Refuse weights through which no gradient passes; tell of those that stay unpacked. Raises UserError."""
    packer = getattr(model, "hf_quantizer", None)
    if packer is not None and quantization != "none" and not packer.is_trainable:
        raise UserError(
            f"--model {name}: packed as {quantization}, which takes no gradient; choose the unpacked model"
        )
    whole = [weight for name, weight in model.named_parameters() if is_stacked(name, weight)]
    if quantization in ("nf4", "int8", "bitsandbytes") and whole:
        size = sum(weight.numel() * weight.element_size() for weight in whole)
        why = (
            "adapters go on them, or they are too large"
            if quantization == "nf4"
            else "only linear layers are packed"
        )
        logger.warning("the weights of the experts, %s, stay unpacked: %s", format_size(size), why)


def keep_differentiable(model: PreTrainedModel) -> None:
    """Have 4-bit layers on a CPU compute training and evaluation in the same way, with gradients.

    Where the CPU has AVX512-BF16, bitsandbytes packs the weights anew at the first evaluation, for a
    kernel that knows no gradient: all that is trained after it would go on without the layers above.
    """
    import bitsandbytes

    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def packing_of(
    folder: Path, quantization: str, dtype: torch.dtype, *, experts: bool
) -> BitsAndBytesConfig | Mxfp4Config | FineGrainedFP8Config | None:
    """How weights are to be packed, or unpacked; None where they stay as they came."""
    method = packed_as(folder)
    if method in UNPACKED_LOADING and quantization != "nf4":
        return UNPACKED_LOADING[method]()
    if quantization not in ("nf4", "int8"):
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"--quantization {quantization}: it needs a package; pip install bitsandbytes")
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    packing = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    if not experts:
        return packing
    from kto_tui.training.experts import with_experts

    return with_experts(packing, of_mxfp4=method == "mxfp4")


def without_packing(settings: PretrainedConfig) -> PretrainedConfig:
    """The settings of a model whose weights came packed, as those of its plain twin."""
    del settings.quantization_config
    return settings


def packing_alert(config: RunConfig, folder: Path, quantization: str) -> AlertRaised | None:
    """What to say where weights came packed, and other ones were asked for."""
    packing = read_json(folder / "config.json").get("quantization_config")
    asked, packed = config.quantization, packed_as(folder)
    if packed is None or asked in ("auto", quantization) or (asked == _bits(packing)):
        return None
    now = "are unpacked" if quantization == "none" else "stay so"
    return AlertRaised(
        kind="packed_otherwise",
        severity="warning",
        message=f"--quantization {asked}: the weights came packed as {printable(packed)}, and {now}",
        advice="Choose the model's unpacked twin for another quantization.",
    )


def _bits(packing: Any) -> str | None:
    """Which of our own ways of packing a folder's weights came in."""
    if not isinstance(packing, dict):
        return None
    if packing.get("load_in_4bit") and packing.get("bnb_4bit_quant_type") == "nf4":
        return "nf4"
    return "int8" if packing.get("load_in_8bit") else None
