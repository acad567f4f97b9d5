"""The memory plan of a run: what its largest step takes on the device, part by part."""

from dataclasses import dataclass
from typing import Literal

from kto_tui.core.config import RunConfig
from kto_tui.core.schedule import needs_pairs
from kto_tui.core.setting import AUTO_BATCH
from kto_tui.sizing.activations import (
    FLOAT32,
    Numbers,
    Rows,
    expert_bytes_kept,
    expert_input_bytes,
    kept_bytes,
    passing_bytes,
    working_bytes,
)
from kto_tui.sizing.adapters import Adapters
from kto_tui.sizing.head import head_bytes
from kto_tui.sizing.lengths import Lengths
from kto_tui.sizing.shape import Layer, ModelShape
from kto_tui.sizing.weights import (
    Storage,
    expert_bytes,
    linear_bytes,
    moment_bytes,
    plain_bytes,
    resolved,
)

# old_cuda: a GPU without bfloat16, on which `auto` computes in float32.
Kind = Literal["cuda", "old_cuda", "cpu"]

# The context with torch's and bitsandbytes' kernels, and cuBLAS's workspace; not measured here yet.
CUDA_BYTES = 600 << 20
# What torch's allocator holds beyond what is in use, as a part of what comes and goes.
FRAGMENTATION = 0.08
# Python and the libraries, resident; a run of the tiny model took 586 MiB in all.
HOST_BYTES = 640 << 20
LEAST_BATCH = 2


@dataclass(frozen=True)
class Part:
    """One part of the plan: what it is, its bytes at the peak, and what they are made up of."""

    name: str
    bytes: int
    why: str


@dataclass(frozen=True)
class MemoryPlan:
    """What a run takes on its device at the most, in bytes, and for what.

    `batch` rows of `lengths.longest` tokens are passed through at once; `checkpointing`: activations are
    computed again in the backward pass; `peak`: which stretch of a step takes most.
    """

    parts: tuple[Part, ...]
    kind: Kind
    storage: Storage
    batch: int
    lengths: Lengths
    checkpointing: bool
    peak: str
    parameters: int
    trainable: int

    @property
    def total_bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def weights_bytes(self) -> int:
        """Of the frozen model alone, which no setting but another quantization makes smaller."""
        return sum(part.bytes for part in self.parts if part.name in WEIGHTS)


WEIGHTS = ("linear layers", "experts", "embeddings, head, norms")


def estimate(
    shape: ModelShape,
    config: RunConfig,
    lengths: Lengths,
    device_kind: Kind,
    *,
    checkpointing: bool | None = None,
) -> MemoryPlan:
    """The plan of these settings. `checkpointing`: None is what they say, and off where they say auto."""
    if checkpointing is None:
        checkpointing = config.gradient_checkpointing == "on"
    storage = resolved(config, shape, device_kind)
    adapters = Adapters.of(config, shape)
    batch = LEAST_BATCH if config.batch_size == AUTO_BATCH else config.batch_size
    step = _Step(shape, config, storage, adapters, device_kind, Rows(batch, lengths.longest), lengths.answer)
    peak, moving = step.peak(checkpointing)
    fixed = (*_weights(shape, storage), *_trained(shape, storage, adapters))
    return MemoryPlan(
        parts=(*fixed, *moving, *_own(device_kind, sum(part.bytes for part in moving))),
        kind=device_kind,
        storage=storage,
        batch=batch,
        lengths=lengths,
        checkpointing=checkpointing,
        peak=peak,
        parameters=shape.parameters,
        trainable=adapters.parameters(shape),
    )


def _weights(shape: ModelShape, storage: Storage) -> list[Part]:
    packed = {"nf4": "NF4, double quantization", "int8": "8 bit", "none": storage.dtype}
    how = packed.get(storage.quantization, storage.quantization)
    parts = [
        Part("linear layers", linear_bytes(shape, storage), f"{in_words(shape.linear_weights)} in {how}")
    ]
    if shape.experts:
        experts = expert_bytes(shape, storage)
        shipped = shape.stays_packed is not None and shape.stays_packed[0] not in ("nf4", "int8")
        kept = how if shipped or storage.experts else storage.dtype
        parts.append(Part("experts", experts, f"{in_words(shape.experts)} in {kept}"))
    rest = shape.parameters - shape.linear_weights - shape.experts
    parts.append(
        Part("embeddings, head, norms", plain_bytes(shape, storage), f"{in_words(rest)} in {storage.dtype}")
    )
    return parts


def _trained(shape: ModelShape, storage: Storage, adapters: Adapters) -> list[Part]:
    size = adapters.parameters(shape)
    moments = moment_bytes(adapters, shape, storage.optimizer)
    twin = [Part("reference's adapter", FLOAT32 * size, "the adapter as it was, in float32")]
    return [
        Part("adapter", FLOAT32 * size, f"LoRA of rank {adapters.rank}, {in_words(size)} in float32"),
        *(twin if shape.begun else []),
        Part("gradients", FLOAT32 * size, "of the adapter, in float32"),
        Part("optimizer", moments, "two moments, " + ("8 bit" if "8bit" in storage.optimizer else "float32")),
    ]


def _own(kind: Kind, moving: int) -> list[Part]:
    if kind == "cpu":
        return [Part("Python and libraries", HOST_BYTES, "resident, beside the model")]
    return [
        Part("CUDA itself", CUDA_BYTES, "about: context, kernels, cuBLAS"),
        Part(
            "fragmentation", int(FRAGMENTATION * moving), f"about {FRAGMENTATION:.0%} of what comes and goes"
        ),
    ]


@dataclass(frozen=True)
class _Step:
    """The largest block of a step on its way through the model."""

    shape: ModelShape
    config: RunConfig
    storage: Storage
    adapters: Adapters
    kind: Kind
    rows: Rows
    answer: int

    @property
    def numbers(self) -> Numbers:
        compute = self.storage.compute
        shared = self.kind != "cpu" and self.storage.quantization in ("nf4", "int8")
        return Numbers(compute, copies=compute < FLOAT32 and not shared, cuda=self.kind != "cpu")

    def peak(self, checkpointing: bool) -> tuple[str, list[Part]]:
        """The stretch of the step that takes most, and its parts."""
        stretches = {
            "the backward pass": self._backward(checkpointing),
            "the head": self._head(checkpointing),
            "the passes without gradient": self._without_gradient(checkpointing),
        }
        if not checkpointing and self.config.gradient_accumulation_steps == 1 and needs_pairs(self.config):
            stretches["the mismatched answers"] = self._mismatched()
        return max(stretches.items(), key=lambda item: sum(part.bytes for part in item[1]))

    def _kept(self, checkpointing: bool) -> Part:
        """All that the layers keep; with checkpointing their inputs, and one layer that is computed again."""
        shape, numbers, rows = self.shape, self.numbers, self.rows
        casts = numbers.compute * self.adapters.parameters(shape) if numbers.mixed else 0
        if not checkpointing:
            kept = sum(self._kept_of(layer) * n for layer, n in shape.layers)
            return Part("activations", kept + casts, f"all layers of {self._block()}")
        inputs = numbers.compute * rows.tokens * shape.hidden * shape.depth
        return Part("activations", inputs + casts, f"the {shape.depth} layers' inputs of {self._block()}")

    def _kept_of(self, layer: Layer) -> int:
        """Bytes that a layer keeps where it is not computed again; its packed experts are, all the same."""
        kept = kept_bytes(layer, self.rows, self.numbers, self.adapters)
        if not self.storage.experts:
            return kept
        given = expert_input_bytes(layer, self.rows, self.numbers, self.shape.hidden)
        return kept - expert_bytes_kept(layer, self.rows, self.numbers, self.adapters) + given

    def _block(self) -> str:
        return f"{self.rows.count} x {self.rows.length:,} tokens"

    def _backward(self, checkpointing: bool) -> list[Part]:
        rows, numbers, adapters = self.rows, self.numbers, self.adapters
        layers = [layer for layer, _ in self.shape.layers]
        if checkpointing:
            # A layer's own input is the one that is kept, unless its norm casts it.
            shared = 0 if numbers.mixed else numbers.compute * rows.tokens * self.shape.hidden
            again = max(
                kept_bytes(x, rows, numbers, adapters) + working_bytes(x, rows, numbers, adapters)
                for x in layers
            )
            work = Part("one layer at work", again - shared, "computed again, with its gradients")
        else:
            packed = self.storage.experts
            again = max(working_bytes(x, rows, numbers, adapters, experts_again=packed) for x in layers)
            work = Part("gradients under way", again, "of the activations, in one layer")
        return [self._kept(checkpointing), work, *self._unpacked()]

    def _unpacked(self) -> list[Part]:
        """The largest packed weight, or all of a layer's experts, unpacked to be multiplied with."""
        if self.storage.quantization in ("none", "int8"):
            return []
        layers = [layer for layer, _ in self.shape.layers]
        largest = max(linear.weights for layer in layers for linear in layer.linears)
        if self.storage.experts:
            largest = max(largest, *(layer.experts.weights for layer in layers if layer.experts))
        return [Part("unpacked weights", largest * self.storage.compute, "of one layer at a time")]

    def _head(self, checkpointing: bool) -> list[Part]:
        shape, rows, numbers = self.shape, self.rows, self.numbers
        logits, states = head_bytes(shape, rows.count * self.answer, self._device, numbers)
        # The last norm keeps its input in float32, and its output goes into the head.
        last = rows.tokens * shape.hidden * (FLOAT32 + numbers.compute)
        return [
            self._kept(checkpointing),
            Part("logits", logits, f"of {shape.vocabulary:,} tokens, a chunk at a time"),
            Part("states at the head", states + last, "of the answers, and their slopes"),
        ]

    @property
    def _device(self) -> str:
        return "cpu" if self.kind == "cpu" else "cuda"

    def _without_gradient(self, checkpointing: bool) -> list[Part]:
        """The reference's pass, which keeps keys and values; fewer rows where activations are not kept."""
        rows = self._fewer() if checkpointing else self.rows
        keys = 2 if needs_pairs(self.config) else 0
        return [
            Part(
                "keys and values",
                keys * self._keys(rows),
                f"of {rows.count} x {rows.length:,} tokens",
            ),
            self._passing(rows),
            *self._unpacked(),
        ]

    def _passing(self, rows: Rows) -> Part:
        """What works in a pass without gradient: one layer, or after them all the head."""
        shape, numbers, answers = self.shape, self.numbers, rows.count * self.answer
        layer = max(passing_bytes(layer, rows, numbers, shape.hidden) for layer, _ in shape.layers)
        logits, _ = head_bytes(shape, answers, self._device, numbers)
        head = logits + answers * shape.hidden * numbers.compute
        return Part("one pass at work", max(layer, head), "a layer or the head, without gradient")

    def _fewer(self) -> Rows:
        return Rows(max(1, self.rows.count // 4), self.rows.length)

    def _keys(self, rows: Rows) -> int:
        return 2 * self.numbers.compute * rows.tokens * sum(layer.key * n for layer, n in self.shape.layers)

    def _mismatched(self) -> list[Part]:
        """With one block a step, mismatched answers follow on its prompts while all activations are kept."""
        return [
            self._kept(checkpointing=False),
            Part("keys and values", self._keys(self.rows), "for the mismatched answers"),
            self._passing(Rows(self.rows.count, self.answer)),
        ]


def in_words(count: int) -> str:
    """A count of parameters: 7.25 billion, 84.0 million, 48,896."""
    if count >= 1e6:
        return f"{count / 1e9:.2f} billion" if count >= 1e9 else f"{count / 1e6:.1f} million"
    return f"{count:,}"
