"""Models to measure with: a Llama of any size with random weights, or the first layers of a real one."""

from pathlib import Path

import msgspec

from benchmarks.child import serve
from kto_tui.models.packages import PACKAGES

_PACKAGE = PACKAGES["HuggingFaceTB/SmolLM2-135M-Instruct"]
_SEED = 20240202


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What decides how much there is to compute. Sizes are counts of elements."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    def describe(self) -> str:
        heads = f"{self.heads} heads of {self.head_dim} ({self.kv_heads} for keys and values)"
        return (
            f"Llama of {self.layers} layers, width {self.hidden}, MLP {self.intermediate}, {heads}, "
            f"vocabulary {self.vocabulary}"
        )


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A model to be written to `folder`. A `hidden` of 0: the first `layers` of SmolLM2-135M itself."""

    folder: str
    layers: int
    hidden: int
    dtype: str = "float32"


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """The model that lies in the folder, its size, and where its tokenizer came from, in words."""

    shape: Shape
    parameters: int
    tokenizer: str


def proportions(hidden: int, layers: int, vocabulary: int) -> Shape:
    """A Llama in SmolLM2's proportions: an MLP of 8/3 the width (to the next 64), one key for three queries.

    Heads are of 64, or of 128 above a width of 2048, as in models of 7B.
    """
    head_dim = 64 if hidden <= 2048 else 128
    heads = hidden // head_dim
    shared = (count for count in range(max(1, heads // 3), 0, -1) if heads % count == 0)
    return Shape(
        layers=layers,
        hidden=hidden,
        intermediate=-(-8 * hidden // (3 * 64)) * 64,
        heads=heads,
        kv_heads=next(shared),
        head_dim=head_dim,
        vocabulary=vocabulary,
    )


def make(wanted: Wanted) -> Made:
    """Write model and tokenizer as from_pretrained reads them. Raises ValueError if there is none to cut."""
    return _random(wanted) if wanted.hidden else _cut(wanted)


def _random(wanted: Wanted) -> Made:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = Path(wanted.folder)
    label, size, (end, pad) = _write_tokenizer(folder)
    shape = proportions(wanted.hidden, wanted.layers, size)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
        dtype=wanted.dtype,
    )
    torch.manual_seed(_SEED)
    # A large model is drawn many times faster on the GPU that is to train it.
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM._from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    return Made(shape=shape, parameters=model.num_parameters(), tokenizer=label)


def _write_tokenizer(folder: Path) -> tuple[str, int, tuple[int, int]]:
    """SmolLM2's where its package is installed, else the built-in one: (label, size, (end, pad))."""
    from transformers import AutoTokenizer

    from kto_tui.training.tiny import build_tokenizer

    if gguf := _PACKAGE.path():
        tokenizer, label = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name), _PACKAGE.label
    else:
        tokenizer, label = (
            build_tokenizer(),
            f"built in, one token a byte ({_PACKAGE.install} for a real one)",
        )
    tokenizer.save_pretrained(folder)
    return label, len(tokenizer), (tokenizer.eos_token_id, tokenizer.pad_token_id)


def _cut(wanted: Wanted) -> Made:
    """The first layers of SmolLM2-135M, under its own last norm and head."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    gguf = _PACKAGE.path()
    if gguf is None:
        raise ValueError(f"there is no model to cut: {_PACKAGE.install}")
    folder = Path(wanted.folder)
    label, *_ = _write_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=getattr(torch, wanted.dtype),
        quantization_config=GgufConfig(dequantize=True),
    )
    config = model.config
    kept = min(wanted.layers, config.num_hidden_layers)
    model.model.layers = model.model.layers[:kept]
    config.num_hidden_layers = kept
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:kept]
    model.save_pretrained(folder)
    shape = Shape(
        layers=kept,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        vocabulary=config.vocab_size,
    )
    return Made(shape=shape, parameters=model.num_parameters(), tokenizer=label)


if __name__ == "__main__":
    serve(make, Wanted)
