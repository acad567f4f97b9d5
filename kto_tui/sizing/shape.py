"""A model's shape, read from its config.json: what its layers hold, and how often each kind comes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kto_tui.sizing.families import Family, family_of

# What goes into a linear map. Maps of one input share it.
Input = Literal["hidden", "attended", "mlp_hidden", "product"]
_MOST = 1 << 40
_MOST_LAYERS = 10_000


class UnknownShape(ValueError):
    """The config does not say what is needed to reckon with; its text says what is missing."""


@dataclass(frozen=True)
class Linear:
    """One linear map, by the end of its name. Counts are of elements."""

    name: str
    inputs: int
    outputs: int
    takes: Input
    bias: bool = False

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True)
class Experts:
    """The experts of one layer.

    `parameters`: of all `count`, with biases and router; `weights`: of these, what their maps multiply with;
    `active`: how many a token goes through; `width`: of each.
    """

    parameters: int
    weights: int
    count: int
    active: int
    width: int


@dataclass(frozen=True)
class Layer:
    """One decoder layer. `window`: how far back its attention looks; None: to the beginning.

    `eager`: why attention keeps its weights, if it does; `joined`: query, key and value come as one.
    `other_parameters`: norms, biases and the like, which nothing quantizes.
    """

    linears: tuple[Linear, ...]
    query: int
    key: int
    heads: int
    norms: int
    normed_heads: bool
    layer_norm: bool
    eager: Literal["caps", "sinks"] | None
    joined: bool
    mlp: int
    gated: bool
    activation: str
    other_parameters: int
    experts: Experts | None = None
    window: int | None = None

    @property
    def linear_weights(self) -> int:
        return sum(linear.weights for linear in self.linears)


@dataclass(frozen=True)
class ModelShape:
    """All of a causal language model. Sizes are counts of elements.

    `layers`: each kind of layer and how often it comes. `shipped`: the method and the bits that the weights
    come quantized with, if they do. `notes`: what was guessed or left out, in words. `begun`: it holds an
    adapter that is trained on, and whose twin stays as it was for the reference.
    """

    family: str
    layers: tuple[tuple[Layer, int], ...]
    hidden: int
    vocabulary: int
    tied: bool
    softcapped: bool
    other_parameters: int
    longest: int | None = None
    shipped: tuple[str, float] | None = None
    notes: tuple[str, ...] = ()
    begun: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ModelShape":
        """The shape as a config.json tells it. Raises UnknownShape."""
        return _read(config)

    @property
    def depth(self) -> int:
        """How many layers there are."""
        return sum(count for _, count in self.layers)

    @property
    def embeddings(self) -> int:
        """The table of the tokens and, where it is one of its own, the head."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def linear_weights(self) -> int:
        """All that is quantized where weights are: the linear layers but the head."""
        return sum(layer.linear_weights * count for layer, count in self.layers)

    @property
    def experts(self) -> int:
        """Parameters of all experts and their routers."""
        return sum(layer.experts.parameters * count for layer, count in self.layers if layer.experts)

    @property
    def expert_weights(self) -> int:
        """Of these, what NF4 packs."""
        return sum(layer.experts.weights * count for layer, count in self.layers if layer.experts)

    @property
    def stays_packed(self) -> tuple[str, float] | None:
        """`shipped`, but for MXFP4 and FP8, which are unpacked as they are loaded."""
        return None if self.shipped and self.shipped[0] in ("mxfp4", "fp8") else self.shipped

    @property
    def parameters(self) -> int:
        """All of them."""
        others = sum(layer.other_parameters * count for layer, count in self.layers)
        return self.embeddings + self.linear_weights + self.experts + others + self.other_parameters

    @property
    def is_eager(self) -> bool:
        """Whether some layer keeps its attention weights."""
        return any(layer.eager is not None for layer, _ in self.layers)


class _Config:
    """A config.json, whose keys go by several names and whose values may be anything."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def count(self, *names: str, default: int | None = None) -> int:
        """A whole number above 0. Raises UnknownShape."""
        for name in names:
            value = self.values.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MOST:
                raise UnknownShape(f"its {name} is no whole number above 0")
            return value
        if default is None:
            raise UnknownShape(f"its config.json has no {names[0]}")
        return default

    def optional(self, *names: str) -> int | None:
        """The same, or None where there is no such number."""
        values = (self.values.get(name) for name in names)
        return next((v for v in values if isinstance(v, int) and v is not True and 0 < v <= _MOST), None)


def _read(config: Mapping[str, Any]) -> ModelShape:
    notes = []
    text = config.get("text_config")
    if isinstance(text, Mapping):
        notes.append("what the model has beside its language part is not counted")
        text = {"tie_word_embeddings": config.get("tie_word_embeddings"), **text}
    values = dict(text if isinstance(text, Mapping) else config)
    kind = str(values.get("model_type", ""))[:60]
    family = family_of(values)
    if family is None:
        notes.append(f"architecture {kind or 'without a name'} is not known here: reckoned as a Llama")
        family = Family()
    read = _Config(values)
    layers = Counter(_layer(read, family, place) for place in range(_depth(read)))
    hidden, vocabulary = read.count("hidden_size", "n_embd"), read.count("vocab_size")
    positions = read.count("n_positions", default=1024) * hidden if family.positions else 0
    tied = values.get("tie_word_embeddings")
    return ModelShape(
        family=kind,
        layers=tuple(layers.items()),
        hidden=hidden,
        vocabulary=vocabulary,
        tied=tied if isinstance(tied, bool) else family.tied,
        softcapped=bool(values.get("final_logit_softcapping")),
        other_parameters=family.norm_vectors * hidden + positions + (vocabulary if family.head_bias else 0),
        longest=read.optional("max_position_embeddings", "n_positions"),
        shipped=_shipped(config),
        notes=tuple(notes),
    )


def _depth(read: _Config) -> int:
    depth = read.count("num_hidden_layers", "n_layer")
    if depth > _MOST_LAYERS:
        raise UnknownShape(f"its num_hidden_layers is {depth}")
    return depth


def _layer(read: _Config, family: Family, place: int) -> Layer:
    hidden = read.count("hidden_size", "n_embd")
    heads = read.count("num_attention_heads", "n_head")
    head = read.count("head_dim", default=family.head_dim or max(1, hidden // heads))
    key_heads = read.count("num_key_value_heads", default=heads)
    query, key = heads * head, key_heads * head
    experts = _experts(read, hidden, place)
    width = _mlp_width(read, hidden, experts)
    linears = (*_attention(family, hidden, query, key), *_mlp(family, hidden, width))
    if experts and width:
        linears = (*linears, Linear("shared_expert_gate", hidden, 1, "mlp_hidden"))
    normed = {"head": 2 * head, "all": query + key, None: 0}[family.qk_norm]
    biases = sum(linear.outputs for linear in linears if linear.bias)
    sinks = heads if family.sinks else 0
    return Layer(
        linears=linears,
        query=query,
        key=key,
        heads=heads,
        norms=family.norms,
        normed_heads=family.qk_norm is not None,
        layer_norm=family.norm_vectors == 2,
        eager=family.eager,
        joined=family.joined_qkv is not None and not family.positions,
        mlp=width,
        gated=family.gated,
        activation=str(read.values.get("hidden_act") or read.values.get("activation_function") or ""),
        other_parameters=family.norms * family.norm_vectors * hidden + normed + biases + sinks,
        experts=experts,
        window=_window(read, place),
    )


def _attention(family: Family, hidden: int, query: int, key: int) -> list[Linear]:
    names = family.names
    output = Linear(names[3], query, hidden, "attended", family.output_bias)
    if family.joined_qkv:
        return [Linear(family.joined_qkv, hidden, query + 2 * key, "hidden", family.qkv_bias), output]
    sizes = zip(names, (query, key, key), strict=False)
    return [*(Linear(name, hidden, size, "hidden", family.qkv_bias) for name, size in sizes), output]


def _mlp(family: Family, hidden: int, width: int) -> list[Linear]:
    """The maps of a dense MLP or of a shared expert; none where the layer has neither."""
    if not width:
        return []
    _, _, _, _, gate, up, down = family.names
    last = Linear(down, width, hidden, "product", family.mlp_bias)
    if not family.gated:
        return [Linear(up, hidden, width, "mlp_hidden", family.mlp_bias), last]
    if family.joined_gate:
        return [Linear(family.joined_gate, hidden, 2 * width, "mlp_hidden", family.mlp_bias), last]
    return [*(Linear(name, hidden, width, "mlp_hidden", family.mlp_bias) for name in (gate, up)), last]


def _mlp_width(read: _Config, hidden: int, experts: Experts | None) -> int:
    if experts:
        return read.optional("shared_expert_intermediate_size") or 0
    return read.count("intermediate_size", "n_inner", default=4 * hidden if "n_embd" in read.values else None)


def _experts(read: _Config, hidden: int, place: int) -> Experts | None:
    """The experts of this layer, where it has any."""
    count = read.optional("num_local_experts", "num_experts", "n_routed_experts")
    if count is None or _is_dense(read, place):
        return None
    width = read.count("moe_intermediate_size", "intermediate_size")
    biased = read.values.get("model_type") == "gpt_oss"
    biases = count * (2 * width + hidden) + count if biased else 0
    weights = 3 * count * width * hidden
    return Experts(
        parameters=weights + count * hidden + biases,
        weights=weights,
        count=count,
        active=min(count, read.count("num_experts_per_tok", "experts_per_token", default=2)),
        width=width,
    )


def _is_dense(read: _Config, place: int) -> bool:
    """Whether this layer of a mixture has an MLP of its own instead of experts."""
    dense, step = read.values.get("mlp_only_layers"), read.optional("decoder_sparse_step") or 1
    if isinstance(dense, list) and place in dense:
        return True
    return (place + 1) % step != 0 or place < (read.optional("first_k_dense_replace") or 0)


def _window(read: _Config, place: int) -> int | None:
    window, kinds = read.optional("sliding_window"), read.values.get("layer_types")
    if window is None or read.values.get("use_sliding_window") is False:
        return None
    if isinstance(kinds, list) and place < len(kinds):
        return window if kinds[place] == "sliding_attention" else None
    if pattern := read.optional("sliding_window_pattern"):
        return None if (place + 1) % pattern == 0 else window
    if read.values.get("use_sliding_window") is True:
        return window if place >= (read.optional("max_window_layers") or 0) else None
    return window


_SHIPPED_BITS = {"mxfp4": 4.25, "fp8": 8.0, "fbgemm_fp8": 8.0, "compressed-tensors": 8.0, "bitnet": 2.0}


def _shipped(config: Mapping[str, Any]) -> tuple[str, float] | None:
    """Method and bits a weight of a model that comes quantized."""
    packed = config.get("quantization_config")
    if not isinstance(packed, Mapping):
        return None
    method = str(packed.get("quant_method") or "bitsandbytes")[:40]
    if packed.get("load_in_4bit") is True or packed.get("_load_in_4bit") is True:
        return "nf4", 4.127 if packed.get("bnb_4bit_use_double_quant") is True else 4.5
    if packed.get("load_in_8bit") is True or packed.get("_load_in_8bit") is True:
        return "int8", 8.0
    bits = packed.get("bits")
    if isinstance(bits, int) and 1 <= bits <= 16:
        group = packed.get("group_size")
        # A scale and a zero point for each group of weights.
        overhead = 20 / group if isinstance(group, int) and group > 0 else 0.0
        return method, bits + overhead
    return method, _SHIPPED_BITS.get(method, 16.0)
