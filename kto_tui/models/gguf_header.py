"""The head of a GGUF file: what it says of the model, read without the weights and without a library.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST = 1 << 24
_KEYS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "context_length": "max_position_embeddings",
    "vocab_size": "vocab_size",
    "expert_count": "num_local_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}
_KINDS = {"gemma3": "gemma3_text", "qwen3moe": "qwen3_moe", "qwen2moe": "qwen2_moe", "gpt-oss": "gpt_oss"}


def gguf_config(path: Path) -> dict[str, Any]:
    """The model's shape under the names of a config.json. Raises OSError, ValueError."""
    values, tensors = gguf_head(path)
    kind = kind_of(values)
    config: dict[str, Any] = {"model_type": _KINDS.get(kind, kind)}
    for name, ours in _KEYS.items():
        if (value := values.get(f"{kind}.{name}")) is not None:
            config[ours] = value
    config.setdefault("vocab_size", values.get("tokenizer.ggml.tokens"))
    config["tie_word_embeddings"] = "output.weight" not in tensors
    return config


def kind_of(values: Mapping[str, Any]) -> str:
    """The architecture, with which most keys begin."""
    return str(values.get("general.architecture", ""))


def gguf_head(path: Path) -> tuple[dict[str, Any], set[str]]:
    """Values by their keys, and the names of the tensors. Raises OSError, ValueError."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return _all(_Reader(content))
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise ValueError(f"its head is damaged ({error})") from error


def _all(reader: "_Reader") -> tuple[dict[str, Any], set[str]]:
    if reader.take("4s") != b"GGUF":
        raise ValueError("it is no GGUF file")
    reader.take("I")
    tensors, count = reader.size(), reader.size()
    values = {reader.text(): reader.value() for _ in range(count)}
    return values, {reader.tensor() for _ in range(tensors)}


class _Reader:
    """Values one after the other. Of an array only its length is told."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._at = 0

    def take(self, kind: str) -> Any:
        (value,) = struct.unpack_from("<" + kind, self._content, self._at)
        self._at += struct.calcsize("<" + kind)
        return value

    def size(self) -> int:
        """A count. Raises ValueError for one that no file has."""
        value = int(self.take("Q"))
        if value > _MOST:
            raise ValueError(f"its head counts {value} things")
        return value

    def skip(self, length: int) -> None:
        self._at += length

    def text(self) -> str:
        length = self.size()
        self._at += length
        return self._content[self._at - length : self._at].decode()

    def value(self) -> Any:
        kind = self.take("I")
        if kind == _ARRAY:
            return self._skip_array()
        return self._one(kind)

    def _one(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind not in _SCALARS:
            raise ValueError(f"its head has a value of unknown kind {kind}")
        return self.take(_SCALARS[kind])

    def _skip_array(self) -> int:
        kind, length = self.take("I"), self.size()
        if kind == _STRING:
            for _ in range(length):
                self.skip(self.size())
        elif kind in _SCALARS:
            self.skip(length * struct.calcsize("<" + _SCALARS[kind]))
        else:
            raise ValueError(f"its head has a list of unknown kind {kind}")
        return length

    def tensor(self) -> str:
        """The name of the next tensor."""
        name = self.text()
        dimensions = self.take("I")
        self.skip(8 * dimensions + 4 + 8)
        return name
