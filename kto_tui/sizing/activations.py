"""What a pass through the layers holds: activations kept for the way back, and what works beside them.

Counted tensor by tensor as autograd saves them in transformers' layers under PEFT's LoRA (docs/memory.md has
the table), after Korthikanti et al. 2022, arXiv 2205.05198, section 4, whose layer is GPT's in float16.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kto_tui.sizing.adapters import Adapters
from kto_tui.sizing.shape import Layer, Linear

FLOAT32 = 4
_INDEX = 8


@dataclass(frozen=True)
class Numbers:
    """In what the pass computes. `compute`: bytes of a number; 4 is float32, and nothing is cast.

    `copies`: every adapted layer keeps an input of its own. PEFT casts each input to the adapter's float32,
    and autocast casts it back, each time anew; on CUDA its 4-bit layers leave out both. `cuda`: where
    autocast has LayerNorm in float32.
    """

    compute: int
    copies: bool
    cuda: bool

    @property
    def mixed(self) -> bool:
        """Whether norms, softmax and logits are wider than the rest."""
        return self.compute < FLOAT32


@dataclass(frozen=True)
class Rows:
    """What is passed through at once: so many rows, padded to the same length in tokens."""

    count: int
    length: int

    @property
    def tokens(self) -> int:
        return self.count * self.length


def kept_bytes(layer: Layer, rows: Rows, numbers: Numbers, adapters: Adapters) -> int:
    """Bytes that one layer keeps for its way back."""
    per_token = (
        _norms(layer, numbers, adapters.hidden)
        + _attention(layer, rows.length, numbers)
        + _feed_forward(layer, numbers, adapters)
        + _lora(layer, numbers, adapters)
    )
    mask = rows.length * rows.tokens * numbers.compute if _is_masked(layer, rows.length) else 0
    return rows.tokens * per_token + mask + _merged(layer, numbers, adapters)


def _merged(layer: Layer, numbers: Numbers, adapters: Adapters) -> int:
    """Adapted experts are merged on the way, all of them: what was added, and the sum."""
    if layer.experts is None or not adapters.expert_parameters(layer):
        return 0
    return 2 * numbers.compute * layer.experts.parameters


def _norms(layer: Layer, numbers: Numbers, hidden: int) -> int:
    """Each norm keeps its input, in float32, and the scale of each token."""
    narrow = layer.layer_norm and not numbers.cuda
    return layer.norms * ((numbers.compute if narrow else FLOAT32) * hidden + FLOAT32)


def _attention(layer: Layer, length: int, numbers: Numbers) -> int:
    """Query, key, value and the attended values, what tells the weights again, and norms of heads."""
    size = numbers.compute
    keys = layer.query if layer.eager or _is_masked(layer, length) else layer.key
    normed = FLOAT32 * (layer.query + layer.key + layer.heads) if layer.normed_heads else 0
    joined = layer.query + layer.key if layer.joined else 0
    flat = size * (2 * layer.query + 2 * keys + joined) + normed
    return flat + (
        layer.heads * length * _of_weights(layer, numbers) if layer.eager else FLOAT32 * layer.heads
    )


def _of_weights(layer: Layer, numbers: Numbers) -> int:
    """Bytes kept of each attention weight: softmax and the values' factor, and the cap before it."""
    size = numbers.compute
    if layer.eager == "sinks":
        return 2 * size
    return size + FLOAT32 + (size if numbers.mixed else 0)


def _is_masked(layer: Layer, length: int) -> bool:
    """Whether attention is told by a mask what to look at, which costs it its shared keys."""
    return layer.window is not None and layer.window < length


def _feed_forward(layer: Layer, numbers: Numbers, adapters: Adapters) -> int:
    """What goes into the activation function, what comes out, the other factor. The product is LoRA's."""
    wide = 3 if layer.gated else 1
    if layer.activation == "gelu_new":
        wide += 3
    return numbers.compute * wide * layer.mlp + _of_experts(layer, numbers, adapters)


def _of_experts(layer: Layer, numbers: Numbers, adapters: Adapters) -> int:
    """Of those that a token goes through: gate and up at once, and outputs before they are weighed."""
    if layer.experts is None:
        return 0
    # Models with sinks have clamps and a gate by hand. The product is kept for adapters alone.
    wide = 5 if layer.eager == "sinks" else 3 + bool(adapters.expert_parameters(layer))
    return numbers.compute * layer.experts.active * (wide * layer.experts.width + adapters.hidden)


def expert_bytes_kept(layer: Layer, rows: Rows, numbers: Numbers, adapters: Adapters) -> int:
    """Of what a layer keeps, the bytes that its experts do."""
    return rows.tokens * _of_experts(layer, numbers, adapters)


def expert_input_bytes(layer: Layer, rows: Rows, numbers: Numbers, hidden: int) -> int:
    """What experts that are computed again are given: a state, and a number and a weight of each expert."""
    if layer.experts is None:
        return 0
    chosen = layer.experts.active * (_INDEX + numbers.compute)
    return rows.tokens * (numbers.compute * hidden + chosen)


def _lora(layer: Layer, numbers: Numbers, adapters: Adapters) -> int:
    """Inputs of the adapted layers, and what their first matrix makes of them."""
    adapted = [linear for linear in layer.linears if adapters.takes(linear)]
    between = len(adapted) * adapters.rank
    inputs = adapted if numbers.copies else _one_each(adapted)
    return numbers.compute * (between + sum(linear.inputs for linear in inputs))


def _one_each(adapted: Iterable[Linear]) -> list[Linear]:
    """One layer for each input that several share; what attention made is kept by itself already."""
    return list({linear.takes: linear for linear in adapted if linear.takes != "attended"}.values())


def working_bytes(
    layer: Layer, rows: Rows, numbers: Numbers, adapters: Adapters, *, experts_again: bool = False
) -> int:
    """Bytes of gradients under way on top of what is kept, where a layer's way back takes most.

    In the feed-forward part: the gradient of the product, once from the base and once from LoRA, and those of
    the stream. In attention: its gradients, when all that the feed-forward part had kept is gone.
    `experts_again`: experts have kept nothing, and are computed again in the feed-forward part.
    """
    size, hidden = numbers.compute, adapters.hidden
    cast = FLOAT32 if numbers.copies and numbers.mixed else size
    stream = 5 * size * hidden if numbers.mixed else size * hidden
    forward = stream + max((size + cast) * max(layer.mlp, hidden), 2 * size * _width(layer, hidden))
    attention = stream + size * 3 * (layer.query + layer.key)
    if layer.eager:
        attention += layer.heads * rows.length * 2 * size
    freed = _feed_forward(layer, numbers, adapters)
    if experts_again:
        again = _of_experts(layer, numbers, adapters)
        forward, freed = forward + again, freed - again
    return rows.tokens * max(forward, attention - freed)


def _width(layer: Layer, hidden: int) -> int:
    """Elements of a token between the two halves of a feed-forward part; all experts' it goes through."""
    experts = layer.experts
    return max(layer.mlp, experts.active * (experts.width + hidden) if experts else 0)


def passing_bytes(layer: Layer, rows: Rows, numbers: Numbers, hidden: int) -> int:
    """Bytes at work in one layer of a pass without gradient, keys and values of other layers left out."""
    size = numbers.compute
    stream = 2 * size * hidden + (FLOAT32 * hidden if numbers.mixed else 0)
    width = _width(layer, hidden)
    attention = size * (2 * layer.query + 2 * layer.key)
    if layer.eager:
        attention += layer.heads * rows.length * 2 * FLOAT32
    return rows.tokens * (stream + max(3 * size * width, attention))
