"""Shapes read from configs, against the models that transformers and PEFT make of them."""

from typing import Any

import pytest
import torch
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from kto_tui.core.config import RunConfig
from kto_tui.sizing.adapters import Adapters
from kto_tui.sizing.families import FAMILIES
from kto_tui.sizing.shape import ModelShape, UnknownShape
from kto_tui.training.arguments import lora_config
from kto_tui.training.targets import choose_targets
from kto_tui.training.tiny import build_model, build_tokenizer
from tests.sizing.presets import PRESETS

LLAMA: dict[str, Any] = PRESETS["7b"][0] | {"model_type": "llama"}
# Whose own defaults do not build a model in transformers 5.23.
DEFAULTS: dict[str, dict[str, Any]] = {"ministral": {"head_dim": 128}}


RANK_8 = RunConfig(model="m", lora_rank=8)


def trained(shape: ModelShape, rank: int = 8, targets: str = "all-linear") -> int:
    config = RunConfig(model="m", lora_rank=rank, lora_target_modules=targets)
    return Adapters.of(config, shape).parameters(shape)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_has_the_parameters_that_transformers_gives_it(family: str) -> None:
    config = AutoConfig.for_model(family, num_hidden_layers=3, **DEFAULTS.get(family, {}))
    shape = ModelShape.from_config(config.to_dict())
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        parameters = model.num_parameters()
        tuned = get_peft_model(model, lora_config(RANK_8, choose_targets(RANK_8, model)))
    assert trained(shape) == sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    assert shape.parameters == parameters
    assert shape.notes == ()


@pytest.mark.parametrize("size", sorted(PRESETS))
def test_presets_have_what_their_cards_state(size: str) -> None:
    config, billions = PRESETS[size]
    assert ModelShape.from_config(config).parameters / 1e9 == pytest.approx(billions, rel=0.01)


def test_the_built_in_model() -> None:
    from kto_tui.models.configuration import model_config

    built = build_model(build_tokenizer())
    shape = ModelShape.from_config(model_config("builtin:tiny"))
    assert shape.parameters == built.num_parameters()
    assert shape.hidden == built.config.hidden_size


def test_named_targets_alone_get_adapters() -> None:
    shape = ModelShape.from_config(LLAMA)
    assert trained(shape, 4, "q_proj,model.layers.v_proj") == 32 * 4 * (4096 + 4096 + 4096 + 1024)
    assert trained(shape, 4, "q_proj") < trained(shape, 4)


def test_what_is_not_known_is_said() -> None:
    shape = ModelShape.from_config(LLAMA | {"model_type": "brand_new"})
    assert "brand_new" in shape.notes[0]
    assert shape.parameters == ModelShape.from_config(LLAMA).parameters
    vision = ModelShape.from_config({"model_type": "gemma3", "text_config": LLAMA})
    assert "not counted" in vision.notes[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": None}, "no hidden_size"),
        ({"hidden_size": "4096"}, "hidden_size is no whole number"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"vocab_size": -1}, "vocab_size"),
        ({"num_attention_heads": True}, "num_attention_heads"),
    ],
)
def test_a_config_that_says_too_little(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UnknownShape, match=words):
        ModelShape.from_config(LLAMA | change)


@pytest.mark.parametrize(
    ("packed", "method", "bits"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq", 4.16),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True},
            "nf4",
            4.127,
        ),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8", 8),
        ({"quant_method": "mxfp4"}, "mxfp4", 4.25),
    ],
)
def test_models_that_come_quantized(packed: dict[str, Any], method: str, bits: float) -> None:
    shipped = ModelShape.from_config(LLAMA | {"quantization_config": packed}).shipped
    assert shipped is not None
    assert shipped[0] == method
    assert shipped[1] == pytest.approx(bits, abs=0.01)


def test_what_no_gradient_passes_does_not_stay() -> None:
    for method, stays in (("mxfp4", None), ("fp8", None), ("fbgemm_fp8", ("fbgemm_fp8", 8.0))):
        settings = LLAMA | {"quantization_config": {"quant_method": method}}
        assert ModelShape.from_config(settings).stays_packed == stays


def test_sliding_windows() -> None:
    kinds = ["sliding_attention", "full_attention"] * 16
    shape = ModelShape.from_config(LLAMA | {"sliding_window": 512, "layer_types": kinds})
    assert {layer.window: count for layer, count in shape.layers} == {512: 16, None: 16}
    assert ModelShape.from_config(LLAMA | {"sliding_window": 512}).layers[0][0].window == 512
    off = LLAMA | {"sliding_window": 512, "use_sliding_window": False}
    assert ModelShape.from_config(off).layers[0][0].window is None
