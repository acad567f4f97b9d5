"""NF4 for the experts of a mixture, which transformers stacks in parameters that bitsandbytes passes over.

Neither transformers 5.23 nor bitsandbytes 0.50 packs them as a model is loaded
(https://github.com/bitsandbytes-foundation/bitsandbytes/issues/1849): here transformers' loader does, each
weight as soon as it is read, by a quantizer of our own that is registered with it.
"""

from collections.abc import Callable
from typing import Any

import torch
from bitsandbytes.functional import quantize_4bit
from bitsandbytes.nn.parametrize import replace_parameter_4bit_prequantized
from torch.nn import Parameter
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.core_model_loading import WeightConverter
from transformers.integrations.bitsandbytes import Bnb4bitQuantize
from transformers.integrations.mxfp4 import Mxfp4Dequantize
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.quantizers.auto import register_quantizer
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer
from transformers.quantizers.quantizer_mxfp4 import Mxfp4HfQuantizer
from transformers.quantizers.quantizers_utils import get_module_from_name
from transformers.utils.quantization_config import QuantizationMethod

from kto_tui.training.targets import is_stacked

_METHOD, _OF_MXFP4 = "nf4_with_experts", "nf4_with_experts_of_mxfp4"
# bitsandbytes counts a tensor's elements in 32 bits.
_MOST_ELEMENTS = 2**31


def with_experts(packing: BitsAndBytesConfig, *, of_mxfp4: bool = False) -> BitsAndBytesConfig:
    """The same 4-bit packing, of experts too. `of_mxfp4`: they come in MXFP4, as gpt-oss is published.

    Then it goes with the settings of a model that is not packed; other packed weights it is not for.
    """
    packing.quant_method = _OF_MXFP4 if of_mxfp4 else _METHOD  # type: ignore[assignment]
    return packing


class _Pack(Bnb4bitQuantize):
    """Packs one weight that was read: a linear layer's as transformers does, or one of all experts."""

    def convert(self, input_dict: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        (name, value), *_ = input_dict.items()
        weight = value[0] if isinstance(value, list) else value
        if not is_stacked(name, weight):
            return dict(super().convert(input_dict, *args, **kwargs))
        how = self.hf_quantizer.quantization_config
        packed, state = quantize_4bit(
            weight.contiguous(),
            quant_type=how.bnb_4bit_quant_type,
            compress_statistics=how.bnb_4bit_use_double_quant,
        )
        made = Parameter(packed, requires_grad=False)
        made.quant_state = state  # type: ignore[attr-defined]
        return {name: made}


@register_quantizer(_METHOD)
class _WithExperts(Bnb4BitHfQuantizer):
    """transformers' own for 4 bits, which takes experts, too."""

    def param_needs_quantization(self, model: PreTrainedModel, param_name: str, **kwargs: Any) -> bool:
        module, name = get_module_from_name(model, param_name)
        weight = getattr(module, name)
        if is_stacked(param_name, weight):
            return bool(weight.numel() < _MOST_ELEMENTS)
        return bool(super().param_needs_quantization(model, param_name, **kwargs))

    def get_quantize_ops(self) -> _Pack:
        return _Pack(self)  # type: ignore[no-untyped-call]

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> PreTrainedModel:
        super()._process_model_after_weight_loading(model, **kwargs)
        _unpack_when_used(model)
        # What asks for the method from here on knows of bitsandbytes only.
        self.quantization_config.quant_method = QuantizationMethod.BITS_AND_BYTES
        model.quantization_method = QuantizationMethod.BITS_AND_BYTES  # type: ignore[assignment]
        return model


class _FromMxfp4(Mxfp4Dequantize):
    """Unpacks experts from MXFP4. The loader has cast their bytes, since it takes what is to be packed for
    numbers; all of 0 to 255 are exact in every number format that is computed in.
    """

    def convert(self, input_dict: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        bytes_again: Any = {n: [part.to(torch.uint8) for part in parts] for n, parts in input_dict.items()}
        return dict(super().convert(bytes_again, *args, **kwargs))


@register_quantizer(_OF_MXFP4)
class _WithExpertsOfMxfp4(_WithExperts):
    """Unpacks and packs each weight of experts, one after the other."""

    def get_weight_conversions(self) -> list[WeightConverter]:
        stored, unpack = Mxfp4HfQuantizer.serialized_names, _FromMxfp4(self)  # type: ignore[no-untyped-call]
        return [WeightConverter(names, weight, [unpack]) for weight, names in stored.items()]


def _unpack_when_used(model: PreTrainedModel) -> None:
    """Have each packed weight of experts read as what it stands for, for as long as its layer computes."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    homes = {child: layer for layer in layers for child in layer.modules()}
    for module in list(model.modules()):
        own = module.named_parameters(recurse=False)
        # The weights of bitsandbytes' linear layers are of a type of their own.
        states = {
            name: p.quant_state for name, p in own if type(p) is Parameter and hasattr(p, "quant_state")
        }
        for name, state in states.items():
            replace_parameter_4bit_prequantized(module, name, state.as_dict(packed=True), model.device)
        if states:
            module.forward = _forgetful(module.forward, homes.get(module))


def _forgetful(forward: Callable[..., Any], layer: torch.nn.Module | None) -> Callable[..., Any]:
    """`forward`, of which autograd keeps no unpacked weight: it is computed again on the way back.

    Else those of all layers would be there at once, as if nothing was packed. Where the whole layer is
    computed again, once is enough.
    """

    def unpacked(*inputs: Any, **named: Any) -> Any:
        with parametrize.cached():
            return forward(*inputs, **named)

    def forgetful(*inputs: Any, **named: Any) -> Any:
        again = layer is not None and layer.training and getattr(layer, "gradient_checkpointing", False)
        if again or not torch.is_grad_enabled():
            return unpacked(*inputs, **named)
        return checkpoint(unpacked, *inputs, use_reentrant=False, preserve_rng_state=False, **named)

    return forgetful
