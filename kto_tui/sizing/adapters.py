"""The LoRA adapters: which layers get them, and how many parameters they have."""

from dataclasses import dataclass

from kto_tui.core.config import ALL_LINEAR, RunConfig
from kto_tui.sizing.shape import Layer, Linear, ModelShape

_ATTENTION = ("hidden", "attended")


@dataclass(frozen=True)
class Adapters:
    """LoRA of a rank on the layers whose names end so; None: on all, as training/targets.py has it.

    `hidden`: the model's width. `mixture`: it has experts, and "all" means attention's layers alone.
    """

    rank: int
    hidden: int
    mixture: bool
    names: frozenset[str] | None

    @classmethod
    def of(cls, config: RunConfig, shape: ModelShape) -> "Adapters":
        """As the settings ask for."""
        wanted, names = config.lora_target_modules, None
        if wanted != ALL_LINEAR:
            names = frozenset(name.strip().rpartition(".")[2] for name in wanted.split(","))
        return cls(config.lora_rank, shape.hidden, shape.experts > 0, names)

    def takes(self, linear: Linear) -> bool:
        """Whether this layer gets an adapter."""
        if self.names is not None:
            return linear.name in self.names
        return not self.mixture or linear.takes in _ATTENTION

    def expert_parameters(self, layer: Layer) -> list[int]:
        """Parameters of each matrix on the experts, of all together, where these are asked for by name."""
        if layer.experts is None or self.names is None:
            return []
        wide, each = layer.experts.width, self.rank * layer.experts.count
        sides = {"gate_up_proj": (self.hidden, 2 * wide), "down_proj": (wide, self.hidden)}
        return [each * side for name, pair in sides.items() if name in self.names for side in pair]

    def matrices(self, shape: ModelShape) -> list[tuple[int, int]]:
        """(parameters, how often) of each matrix: both of each adapted layer."""
        adapted = [(x, count) for layer, count in shape.layers for x in layer.linears if self.takes(x)]
        plain = [(self.rank * side, count) for x, count in adapted for side in (x.inputs, x.outputs)]
        return plain + [(size, n) for layer, n in shape.layers for size in self.expert_parameters(layer)]

    def parameters(self, shape: ModelShape) -> int:
        """All that are trained."""
        return sum(size * count for size, count in self.matrices(shape))
