"""What tells one architecture's layers from another's, as transformers 5.23 builds them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Family:
    """How a layer is made up.

    `norms`: over the hidden state, each with `norm_vectors` vectors of parameters. `gated`: the MLP has a
    gate. `qk_norm`: norms of queries and keys, by head or over all of them. `eager`: attention keeps its
    weights, since its fast kernels do not know the caps or sinks that it has. `names`: what
    the layer calls its linear maps, in the order query, key, value, output, gate, up, down; a joined one
    stands once.
    """

    norms: int = 2
    norm_vectors: int = 1
    gated: bool = True
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    qk_norm: Literal["head", "all"] | None = None
    eager: Literal["caps", "sinks"] | None = None
    tied: bool = False
    positions: bool = False
    sinks: bool = False
    head_dim: int | None = None
    joined_qkv: str | None = None
    joined_gate: str | None = None
    names: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


_LLAMA = Family()
_LAYER_NORM = Family(norm_vectors=2)
_TWO_LAYER_MLP = replace(_LAYER_NORM, gated=False, qkv_bias=True, output_bias=True, mlp_bias=True)

FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(("llama", "mistral", "ministral", "ministral3", "mixtral", "smollm3", "granite"), _LLAMA),
    **dict.fromkeys(("qwen2", "qwen2_moe"), replace(_LLAMA, qkv_bias=True)),
    **dict.fromkeys(("qwen3", "qwen3_moe"), replace(_LLAMA, qk_norm="head")),
    "gemma": replace(_LLAMA, tied=True, head_dim=256),
    "gemma2": replace(_LLAMA, tied=True, norms=4, eager="caps", head_dim=256),
    "gemma3_text": replace(_LLAMA, tied=True, norms=4, qk_norm="head", head_dim=256),
    "olmo": replace(_LLAMA, norm_vectors=0),
    **dict.fromkeys(("olmo2", "olmo3", "olmoe"), replace(_LLAMA, qk_norm="all")),
    "gpt_oss": replace(_LLAMA, eager="sinks", qkv_bias=True, output_bias=True, sinks=True, head_dim=64),
    "cohere": replace(_LLAMA, norms=1, tied=True),
    "stablelm": _LAYER_NORM,
    "phi": replace(
        _TWO_LAYER_MLP,
        norms=1,
        head_bias=True,
        names=("q_proj", "k_proj", "v_proj", "dense", "", "fc1", "fc2"),
    ),
    "phi3": replace(_LLAMA, joined_qkv="qkv_proj", joined_gate="gate_up_proj"),
    "starcoder2": replace(
        _TWO_LAYER_MLP, tied=True, names=("q_proj", "k_proj", "v_proj", "o_proj", "", "c_fc", "c_proj")
    ),
    "gpt2": replace(
        _TWO_LAYER_MLP,
        tied=True,
        positions=True,
        joined_qkv="c_attn",
        names=("", "", "", "c_proj", "", "c_fc", "c_proj"),
    ),
    "gpt_neox": replace(
        _TWO_LAYER_MLP,
        joined_qkv="query_key_value",
        names=("", "", "", "dense", "", "dense_h_to_4h", "dense_4h_to_h"),
    ),
}


def family_of(config: Mapping[str, Any]) -> Family | None:
    """The family by its `model_type`, with what a config says of biases; None for one not known here."""
    kind = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        return None
    if kind in (
        "llama",
        "qwen3",
        "qwen3_moe",
        "smollm3",
        "granite",
        "cohere",
        "olmo",
        "olmo2",
        "olmo3",
        "olmoe",
    ):
        bias = config.get("attention_bias") is True
        family = replace(family, qkv_bias=bias, output_bias=bias, mlp_bias=config.get("mlp_bias") is True)
    if kind == "stablelm":
        family = replace(family, qkv_bias=config.get("use_qkv_bias") is True)
    if kind == "cohere" and config.get("use_qk_norm") is True:
        family = replace(family, qk_norm="all")
    return family
