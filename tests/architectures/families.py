"""Tiny models of each family, with random weights, built from their transformers configs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast

from kto_tui.training.tiny import build_tokenizer

TOKENS = 261  # Of the tiny tokenizer.
# Shorter than the rows of the tests, so that layers with a window look at less than others.
WINDOW = 24
SIZES: dict[str, Any] = {
    "vocab_size": TOKENS,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,  # else attention is all but even, and a wrong one makes no difference
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_ROUTED = {"num_local_experts": 4, "num_experts_per_tok": 2}


def _config(name: str, **changes: Any) -> Callable[[], PretrainedConfig]:
    def build() -> PretrainedConfig:
        made = getattr(transformers, name)(**{**SIZES, **changes})
        assert isinstance(made, PretrainedConfig)
        return made

    return build


FAMILIES: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": _config("LlamaConfig"),
    "mistral": _config("MistralConfig", sliding_window=WINDOW),
    "qwen2": _config("Qwen2Config", tie_word_embeddings=True),
    "qwen3": _config("Qwen3Config", head_dim=16),
    "gemma": _config("GemmaConfig", head_dim=16),
    "gemma2": _config("Gemma2Config", head_dim=16, sliding_window=WINDOW, final_logit_softcapping=5.0),
    "gemma3": _config("Gemma3TextConfig", head_dim=16, sliding_window=WINDOW),
    "phi": _config("PhiConfig"),
    "phi3": _config("Phi3Config"),
    "smollm3": _config("SmolLM3Config"),
    "olmo": _config("OlmoConfig"),
    "olmo2": _config("Olmo2Config"),
    "olmo3": _config("Olmo3Config", sliding_window=WINDOW),
    "granite": _config("GraniteConfig", logits_scaling=4.0, embedding_multiplier=3.0),
    "cohere": _config("CohereConfig"),
    "gpt2": _config("GPT2Config", n_positions=256),
    "gpt_oss": _config("GptOssConfig", head_dim=16, sliding_window=WINDOW, rope_parameters=None, **_ROUTED),
    "mixtral": _config("MixtralConfig", **_ROUTED),
    "qwen3_moe": _config("Qwen3MoeConfig", head_dim=16, **_EXPERTS),
    "olmoe": _config("OlmoeConfig", **_EXPERTS),
}
MIXTURES = ("gpt_oss", "mixtral", "qwen3_moe", "olmoe")


def build(config: PretrainedConfig, seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).float().eval()  # type: ignore[no-untyped-call]


def save(folder: Path, config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast | None = None) -> Path:
    """A model folder as save_pretrained writes it."""
    build(config).save_pretrained(folder)
    (tokenizer or build_tokenizer()).save_pretrained(folder)
    return folder
