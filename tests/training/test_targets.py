"""Which layers get adapters, by the settings and the model's kind."""

from typing import Any

import pytest
from peft import get_peft_model
from transformers import Gemma3Config, Gemma3TextConfig, SiglipVisionConfig

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.training.arguments import lora_config
from kto_tui.training.targets import EVERY_LINEAR, adapter_parameters, choose_targets
from tests.architectures.families import FAMILIES, MIXTURES, SIZES, build

RANK = 2


def settings(names: str, **changes: Any) -> RunConfig:
    return RunConfig(lora_rank=RANK, lora_target_modules=names, **changes)


def adapted(family: str, names: str) -> set[str]:
    """The layers and stacked weights that PEFT adapts, by their last words; their size is as it was told."""
    config, model = settings(names), build(FAMILIES[family]())
    targets = choose_targets(config, model)
    told = adapter_parameters(model, RANK, targets)
    tuned = get_peft_model(model, lora_config(config, targets))
    assert told == sum(weight.numel() for weight in tuned.parameters() if weight.requires_grad)
    found = set()
    for name, module in tuned.named_modules():
        if hasattr(module, "lora_A"):
            found.add(getattr(module, "parameter_name", name.rpartition(".")[2]))
    return found


def test_all_linear_of_a_plain_model_is_pefts_own_word() -> None:
    assert choose_targets(settings("all-linear"), build(FAMILIES["llama"]())) == EVERY_LINEAR
    every = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert adapted("llama", "all-linear") == every
    assert adapted("gpt2", "all-linear") == {"c_attn", "c_proj", "c_fc"}


@pytest.mark.parametrize("family", MIXTURES)
def test_all_linear_of_a_mixture_is_attention(family: str) -> None:
    """PEFT would add routers and all experts to it, for some mixtures and not for others."""
    assert adapted(family, "all-linear") == {"q_proj", "k_proj", "v_proj", "o_proj"}


def test_layers_by_name() -> None:
    assert adapted("llama", "q_proj, v_proj") == {"q_proj", "v_proj"}
    assert adapted("llama", "self_attn.q_proj") == {"q_proj"}
    experts = {"gate_up_proj", "down_proj"}
    assert adapted("mixtral", "o_proj,experts.gate_up_proj,experts.down_proj") == {"o_proj", *experts}


def test_a_name_means_the_part_that_reads_text() -> None:
    """The layers that see have the same names."""
    text = Gemma3TextConfig(**{**SIZES, "head_dim": 16})
    seen = SiglipVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28
    )
    model = build(Gemma3Config(text_config=text, vision_config=seen, mm_tokens_per_image=4))
    config = settings("q_proj")
    targets = choose_targets(config, model)
    told = adapter_parameters(model, RANK, targets)
    tuned = get_peft_model(model, lora_config(config, targets))
    trained = {name: weight.numel() for name, weight in tuned.named_parameters() if weight.requires_grad}
    assert sum(trained.values()) == told
    assert all(".language_model." in name for name in trained)
    assert trained


@pytest.mark.parametrize(
    ("family", "names", "expected"),
    [
        ("llama", "q_proj,lm_head", "'lm_head' is the model's head, which takes no adapter"),
        ("qwen2", "lm_head", "'lm_head' is the model's head"),
        ("llama", "embed_tokens", "'embed_tokens' is the model's embedding, which takes no adapter"),
        ("gpt2", "wte", "'wte' is the model's embedding"),
        (
            "llama",
            "q_proj,query",
            "the model has no 'query'; it has q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
        ),
        ("llama", "\x1b[2J", r"the model has no '\x1b[2J'"),
        ("llama", "q", "the model has no 'q'"),
        ("llama", ", ,", "found no name"),
        (
            "qwen3_moe",
            "gate_proj",
            "it has self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj,"
            " experts.gate_up_proj, experts.down_proj",
        ),
    ],
)
def test_names_that_are_refused(family: str, names: str, expected: str) -> None:
    with pytest.raises(UserError) as raised:
        choose_targets(settings(names), build(FAMILIES[family]()))
    assert str(raised.value).startswith("--lora-target-modules: ")
    assert expected in str(raised.value)


def test_adapters_of_experts_take_no_dropout() -> None:
    config = settings("experts.down_proj", lora_dropout=0.1)
    with pytest.raises(UserError, match=r"found --lora-dropout 0\.1, expected 0"):
        choose_targets(config, build(FAMILIES["mixtral"]()))
