"""A GGUF file written from a tiny model and its tokenizer, with the gguf package."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from kto_tui.training.tiny import build_tokenizer

_BLOCK = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_GEMMA = {
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_ENDS = {"embed_tokens": "token_embd", "norm": "output_norm"}


def write(
    path: Path, model: Any, *, without: str = "", add: Callable[[gguf.GGUFWriter], None] = lambda _: None
) -> None:
    """`model` is a Qwen2, a Llama, a Phi-3 or the text part of a Gemma 3.

    `without`: a tensor that is left out; `add`: writes more keys and tensors.
    """
    config, tokenizer = model.config, build_tokenizer()
    gemma = config.model_type == "gemma3_text"
    writer = gguf.GGUFWriter(path, "gemma3" if gemma else config.model_type)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if gemma:
        writer.add_sliding_window(config.sliding_window)
        writer.add_key_length(config.head_dim)
    rotary = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer.add_rope_freq_base(rotary["rope_theta"])
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    tokens[-1] = "Ġt"  # There is no reading a vocabulary that merges nothing.
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    special, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([special if n < 5 else normal for n in range(len(tokens))])
    writer.add_token_merges(["Ġ t"])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    add(writer)
    blocks = {**_BLOCK, **(_GEMMA if gemma else {})}
    tensors = {
        _name(name, blocks): tensor.float().numpy() for name, tensor in model.model.state_dict().items()
    }
    if gemma:  # Its norms multiply by one more than their weights, which is what such a file has.
        tensors = {name: tensor + ("norm" in name) for name, tensor in tensors.items()}
    if not config.tie_word_embeddings:
        tensors["output.weight"] = model.lm_head.weight.detach().float().numpy()
    for name, tensor in tensors.items():
        if config.model_type == "llama" and "attn_q." in name:
            tensor = _paired(tensor, config.num_attention_heads)
        if config.model_type == "llama" and "attn_k." in name:
            tensor = _paired(tensor, config.num_key_value_heads)
        if name != without:
            writer.add_tensor(name, np.ascontiguousarray(tensor, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _paired(weight: Any, heads: int) -> Any:
    """Rows of each head in the order in which llama.cpp turns pairs of them, instead of halves."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def _name(name: str, blocks: dict[str, str]) -> str:
    layer, _, kind = name.rpartition(".")
    if not layer.startswith("layers."):
        return f"{_ENDS[layer]}.{kind}"
    _, number, rest = layer.split(".", 2)
    return f"blk.{number}.{blocks[rest]}.{kind}"
