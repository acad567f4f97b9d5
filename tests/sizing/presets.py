"""config.json of the presets' models, cut to what a plan needs: public facts of their repositories."""

from typing import Any

_QWEN = {"model_type": "qwen2", "vocab_size": 151936, "sliding_window": None, "use_sliding_window": False}


def _qwen(hidden: int, mlp: int, layers: int, heads: int, keys: int, *, tied: bool) -> dict[str, Any]:
    return _QWEN | {
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "tie_word_embeddings": tied,
        "max_position_embeddings": 32768,
    }


# By preset: the config, and the parameters that its model card states, in billions.
PRESETS: dict[str, tuple[dict[str, Any], float]] = {
    "0.5b": (_qwen(896, 4864, 24, 14, 2, tied=True), 0.49),
    "1.5b": (_qwen(1536, 8960, 28, 12, 2, tied=True), 1.54),
    "3b": (_qwen(2048, 11008, 36, 16, 2, tied=True), 3.09),
    "7b": (
        {
            "model_type": "mistral",
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "vocab_size": 32768,
            "tie_word_embeddings": False,
            "sliding_window": None,
            "max_position_embeddings": 32768,
        },
        7.25,
    ),
    "8b": (
        {
            "model_type": "qwen3",
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "tie_word_embeddings": False,
            "sliding_window": None,
            "max_position_embeddings": 40960,
        },
        8.19,
    ),
    "14b": (_qwen(5120, 13824, 48, 40, 8, tied=False) | {"vocab_size": 152064}, 14.77),
    "24b": (
        {
            "model_type": "mistral",
            "hidden_size": 5120,
            "intermediate_size": 32768,
            "num_hidden_layers": 40,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 131072,
            "tie_word_embeddings": False,
            "sliding_window": None,
            "max_position_embeddings": 32768,
        },
        23.57,
    ),
}
