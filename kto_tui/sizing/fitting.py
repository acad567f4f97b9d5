"""Settings made to fit a device, and what to change first where they do not."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import msgspec

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.core.presets import load_preset
from kto_tui.core.setting import AUTO_BATCH
from kto_tui.sizing.lengths import Lengths
from kto_tui.sizing.memory import LEAST_BATCH, Kind, MemoryPlan, estimate
from kto_tui.sizing.shape import ModelShape

ROWS_A_STEP = 32
_MOST_ROWS = 4096
_LONGEST = 1 << 20
_GRAIN = 64
# What activations may take of the memory that is left, as training/memory.py has it.
_SHARE = {"cuda": 0.85, "old_cuda": 0.85, "cpu": 0.5}
_WORTH = 32 << 20


@dataclass(frozen=True)
class Fitted:
    """Settings that fit as far as they may be changed, what was changed and why, and their plan."""

    config: RunConfig
    notes: tuple[str, ...]
    plan: MemoryPlan


@dataclass(frozen=True)
class Advice:
    """A change, in words, and what it saves; `enough`: it fits with that alone."""

    change: str
    saved_bytes: int
    enough: bool


def fitted(
    config: RunConfig,
    shape: ModelShape,
    available_bytes: int,
    lengths: Lengths,
    kind: Kind = "cuda",
    named: Collection[str] = (),
) -> Fitted:
    """The settings with a micro-batch that fits, if it may be chosen; rows a step stay as they were.

    `named`: settings that the user gave a value, which stay.
    """
    room = _Room(shape, lengths, kind, available_bytes)
    if config.batch_size == AUTO_BATCH:
        return _chosen(config, room, named)
    plan = room.plan(config)
    if room.holds(plan):
        return Fitted(config, (), plan)
    if "batch_size" in named or "gradient_accumulation_steps" in named:
        return Fitted(config, (_short(plan, available_bytes),), plan)
    halved = config
    while halved.batch_size > LEAST_BATCH and not room.holds(room.plan(halved)):
        halved = _with_batch(halved, halved.batch_size // 2, halved.gradient_accumulation_steps * 2)
    plan = room.plan(halved)
    notes = []
    if halved.batch_size != config.batch_size:
        notes.append(
            f"{config.batch_size} rows of {lengths.longest:,} tokens at once do not fit into"
            f" {in_gib(available_bytes)}: {_batches(halved)} instead of {_batches(config)}"
        )
    if not room.holds(plan):
        notes.append(_short(plan, available_bytes))
    return Fitted(halved, tuple(notes), plan)


def _chosen(config: RunConfig, room: "_Room", named: Collection[str]) -> Fitted:
    """--batch-size auto: the largest power of two that fits, at least 2."""
    keeps = "gradient_accumulation_steps" in named
    most = rows_a_step(config) if not keeps else ROWS_A_STEP // config.gradient_accumulation_steps
    batch = LEAST_BATCH
    while 2 * batch <= most and room.holds(room.plan(_with_batch(config, 2 * batch, 1))):
        batch *= 2
    accumulation = config.gradient_accumulation_steps if keeps else max(1, most // batch)
    config = _with_batch(config, batch, accumulation)
    plan = room.plan(config)
    note = (
        f"--batch-size auto: {_batches(config)}, {in_gib(plan.total_bytes)} of {in_gib(room.available_bytes)}"
    )
    notes = (note,) if room.holds(plan) else (note, _short(plan, room.available_bytes))
    return Fitted(config, notes, plan)


def rows_a_step(config: RunConfig) -> int:
    """Rows of one optimizer step, as the preset has them; 32 without one that can be read."""
    try:
        preset = load_preset(config.model_size) if config.model_size else {}
    except UserError:
        preset = {}
    batch, accumulation = preset.get("batch_size"), preset.get("gradient_accumulation_steps", 1)
    return batch * accumulation if isinstance(batch, int) else ROWS_A_STEP


def planned(
    shape: ModelShape, config: RunConfig, lengths: Lengths, kind: Kind, available_bytes: int
) -> MemoryPlan:
    """The plan with --gradient-checkpointing auto decided as the run will decide it."""
    return _Room(shape, lengths, kind, available_bytes).plan(config)


def largest_batch(
    shape: ModelShape, config: RunConfig, lengths: Lengths, kind: Kind, room: int
) -> int | None:
    """Most rows of this length that can be passed through at once; None where not even 2 fit."""
    device = _Room(shape, lengths, kind, room)
    return _largest(
        LEAST_BATCH,
        _MOST_ROWS,
        lambda rows: device.holds(device.plan(msgspec.structs.replace(config, batch_size=rows))),
    )


def largest_length(shape: ModelShape, config: RunConfig, kind: Kind, room: int) -> int | None:
    """Longest rows, in steps of 64 tokens, of which this micro-batch fits; None where none does."""
    most = min(shape.longest or _LONGEST, _LONGEST) // _GRAIN

    def fits(grains: int) -> bool:
        device = _Room(shape, Lengths.at_most(grains * _GRAIN), kind, room)
        return device.holds(device.plan(config))

    found = _largest(1, max(1, most), fits)
    return None if found is None else found * _GRAIN


def _largest(least: int, most: int, fits: Callable[[int], bool]) -> int | None:
    """The largest number that fits, where every smaller one does too."""
    if not fits(least):
        return None
    while least < most:
        middle = (least + most + 1) // 2
        if fits(middle):
            least = middle
        else:
            most = middle - 1
    return least


def advice(config: RunConfig, shape: ModelShape, plan: MemoryPlan, available_bytes: int) -> list[Advice]:
    """What to change, first what leaves the result as it is. Each figure is that of the change alone."""
    found = []
    for change, other, lengths in _changes(config, shape, plan, available_bytes):
        cheaper = estimate(shape, other, lengths, plan.kind, checkpointing=_checkpoints(other, plan))
        saved = plan.total_bytes - cheaper.total_bytes
        if saved >= _WORTH:
            found.append(Advice(change, saved, cheaper.total_bytes <= available_bytes))
    return found


def _checkpoints(config: RunConfig, plan: MemoryPlan) -> bool:
    return plan.checkpointing or config.gradient_checkpointing == "on"


def _smaller(config: RunConfig, shape: ModelShape, plan: MemoryPlan, room: int) -> RunConfig:
    """The settings with half of the rows at once, and half again until they fit; rows a step stay."""
    while config.batch_size > LEAST_BATCH:
        config = _with_batch(config, config.batch_size // 2, 2 * config.gradient_accumulation_steps)
        cheaper = estimate(shape, config, plan.lengths, plan.kind, checkpointing=plan.checkpointing)
        if cheaper.total_bytes <= room:
            break
    return config


def _changes(
    config: RunConfig, shape: ModelShape, plan: MemoryPlan, room: int
) -> list[tuple[str, RunConfig, Lengths]]:
    """(what to write, the settings then, their lengths)."""
    lengths, storage = plan.lengths, plan.storage
    replace = msgspec.structs.replace
    config = replace(config, batch_size=plan.batch)
    changes = []
    if not plan.checkpointing:
        on = replace(config, gradient_checkpointing="on")
        changes.append(("--gradient-checkpointing on", on, lengths))
    if plan.batch > LEAST_BATCH:
        less = _smaller(config, shape, plan, room)
        accumulation = less.gradient_accumulation_steps
        words = f"--batch-size {less.batch_size} --gradient-accumulation-steps {accumulation}"
        changes.append((words, less, lengths))
    if plan.kind != "cpu" and "8bit" not in storage.optimizer:
        changes.append(("--optim adamw_8bit", replace(config, optim="adamw_8bit"), lengths))
    if storage.quantization in ("none", "int8"):
        changes.append(("--quantization nf4", replace(config, quantization="nf4"), lengths))
    half = max(8, lengths.longest // 2)
    changes.append((f"--max-length {half}", config, lengths.cut(half)))
    if config.lora_rank > 8:
        rank = config.lora_rank // 2
        changes.append((f"--lora-rank {rank}", replace(config, lora_rank=rank), lengths))
    return changes


@dataclass(frozen=True)
class _Room:
    """A model, its rows, and the device that they are to fit."""

    shape: ModelShape
    lengths: Lengths
    kind: Kind
    available_bytes: int

    def plan(self, config: RunConfig) -> MemoryPlan:
        """The plan; auto checkpoints where activations would take too much of what is left."""
        whole = estimate(self.shape, config, self.lengths, self.kind)
        if config.gradient_checkpointing != "auto" or (self.holds(whole) and self._keeps(whole)):
            return whole
        return estimate(self.shape, config, self.lengths, self.kind, checkpointing=True)

    def holds(self, plan: MemoryPlan) -> bool:
        return plan.total_bytes <= self.available_bytes

    def _keeps(self, plan: MemoryPlan) -> bool:
        activations = sum(part.bytes for part in plan.parts if part.name == "activations")
        return activations <= _SHARE[self.kind] * (self.available_bytes - plan.weights_bytes)


def _with_batch(config: RunConfig, batch: int, accumulation: int) -> RunConfig:
    return msgspec.structs.replace(config, batch_size=batch, gradient_accumulation_steps=accumulation)


def _batches(config: RunConfig) -> str:
    return f"{config.batch_size} x {config.gradient_accumulation_steps} rows a step"


def _short(plan: MemoryPlan, available_bytes: int) -> str:
    return (
        f"{plan.batch} rows of {plan.lengths.longest:,} tokens at once need about {in_gib(plan.total_bytes)},"
        f" and {in_gib(available_bytes)} is there: it will go on in smaller parts, or not fit"
    )


def in_gib(size: float) -> str:
    """Bytes in words, as memory is counted: 21.4 GiB, 0.35 GiB."""
    gib = size / (1 << 30)
    return f"{gib:.1f} GiB" if gib >= 9.995 else f"{gib:.2f} GiB"
