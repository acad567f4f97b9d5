"""A GGUF file written from a tiny Qwen2 and its tokenizer, with the gguf package."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from kto_tui.training.tiny import build_tokenizer

_BLOCK = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_ENDS = {"embed_tokens": "token_embd", "norm": "output_norm"}


def write(path: Path, model: Any, *, without: str = "", scaled: str = "") -> None:
    """`model` is a Qwen2ForCausalLM whose head is its embeddings.

    `without`: a tensor that is left out; `scaled`: how positions are scaled, by a "key" or a "tensor".
    """
    config, tokenizer = model.config, build_tokenizer()
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
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
    if scaled == "key":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(8.0)
    if scaled == "tensor":
        writer.add_tensor("rope_freqs.weight", np.full(8, 8.0, dtype=np.float32))
    for name, tensor in model.model.state_dict().items():
        if _name(name) != without:
            writer.add_tensor(_name(name), tensor.float().numpy().astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    if not layer.startswith("layers."):
        return f"{_ENDS[layer]}.{kind}"
    _, number, rest = layer.split(".", 2)
    return f"blk.{number}.{_BLOCK[rest]}.{kind}"
