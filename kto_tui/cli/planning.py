"""The memory plan of a request: the model's shape, the device that is there, settings that fit it."""

import itertools
import os
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kto_tui.cli.request import with_model
from kto_tui.core.config import RunConfig
from kto_tui.core.counts import Counts
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError, printable
from kto_tui.core.resolve import given_settings, read_settings, recorded_settings
from kto_tui.core.setting import AUTO_BATCH
from kto_tui.models.adapter import trained_on
from kto_tui.models.configuration import NoConfig, model_config
from kto_tui.models.counting import tokens_a_byte
from kto_tui.models.kept import kept_beginning, model_at_hand
from kto_tui.sizing.devices import Device, gpu_of, named_gpu, sized_gpu
from kto_tui.sizing.fitting import advice, fitted, in_gib, largest_batch, largest_length
from kto_tui.sizing.lengths import Lengths
from kto_tui.sizing.memory import MemoryPlan
from kto_tui.sizing.shape import ModelShape, UnknownShape

if TYPE_CHECKING:
    from kto_tui.report.memory_plan import MemoryReport

_SAME_WORK = (
    *("model", "quantization", "dtype", "lora_rank", "lora_target_modules", "dataset", "max_length"),
    *("batch_size", "gradient_accumulation_steps", "gradient_checkpointing"),
)
_ENOUGH_STEPS = 3


@dataclass(frozen=True)
class Unplanned:
    """Why there is no plan, in words."""

    reason: str


def fit_request(
    config: RunConfig, named: Collection[str], lengths: Lengths | None = None
) -> tuple[RunConfig, list[str]]:
    """The settings with a micro-batch that fits the device that is there, and what to tell the user of it.

    `named`: the settings that the user gave a value. `lengths`: of the data, where they are known.
    A plan that cannot be made refuses nothing but --batch-size auto. Raises UserError for that, and where the
    weights alone are more than the device's memory.
    """
    shape = shape_of(config)
    if isinstance(shape, Unplanned):
        return _without_plan(config, shape)
    device = device_there()
    lengths = lengths or Lengths.at_most(config.max_length)
    found = fitted(config, shape, device.available_bytes, lengths, device.kind, _fixed(config, named))
    refuse_hopeless(config, found.plan, device)
    return found.config, [*found.notes, *(shape.notes if found.notes else ())]


def lengths_of(counts: Counts, config: RunConfig) -> Lengths:
    """Of the data's rows, by the model's tokenizer where that is at hand."""
    model, revision = model_at_hand(config)
    return Lengths.of_text(counts, config.max_length, tokens_a_byte(model, revision, counts.longest))


def named_settings(options: Mapping[str, Any]) -> set[str]:
    """The settings that a command line and its --config file give a value. Raises UserError."""
    named = set(options)
    if "config" in options:
        named |= set(read_settings(Path(options["config"])))
    return named


def given_settings_of(options: Mapping[str, Any]) -> set[str]:
    """The same without what a neighbour's file leaves to its program. Raises UserError."""
    own = given_settings(Path(options["config"])) if "config" in options else set()
    return own | set(options)


def _fixed(config: RunConfig, named: Collection[str]) -> Collection[str]:
    """What may not be changed: what was named, and in a run that goes on, the batch that it began with."""
    resumed = config.resume_from_checkpoint is not None and config.batch_size != AUTO_BATCH
    return {*named, "batch_size"} if resumed else named


def _without_plan(config: RunConfig, missing: Unplanned) -> tuple[RunConfig, list[str]]:
    if config.batch_size == AUTO_BATCH:
        raise UserError(
            f"--batch-size auto: the memory plan cannot be made: {missing.reason}; give a number instead"
        )
    return config, []


def shape_of(config: RunConfig, *, asks: bool = True) -> ModelShape | Unplanned:
    """The shape of the settings' model, from its config alone. `asks`: the hub, where it has to be."""
    assert config.model is not None
    name = printable(config.model)
    try:
        shape = ModelShape.from_config(model_config(*model_at_hand(config), asks=asks))
        return replace(shape, begun=_goes_on(config))
    except NoConfig as error:
        return Unplanned(printable(f"{name}: {error}"))
    except UnknownShape as error:
        return Unplanned(printable(f"{name}: {error}"))


def _goes_on(config: RunConfig) -> bool:
    """Whether an adapter is trained on, beside its twin."""
    try:
        return kept_beginning(config) is not None or trained_on(config) is not None
    except UserError:  # Told by whoever looks at the model itself.
        return False


def refuse_hopeless(config: RunConfig, plan: MemoryPlan, device: Device) -> None:
    """Raise UserError where no setting but another model makes it fit: the weights alone are too many."""
    if plan.weights_bytes <= device.total_bytes:
        return
    packed = plan.storage.quantization
    ways = "a smaller model"
    if device.kind != "cpu" and packed in ("none", "int8"):
        ways += ", or --quantization nf4"
    raise UserError(
        f"--model {printable(str(config.model))}: its weights alone take {in_gib(plan.weights_bytes)}"
        f" ({plan.storage.dtype if packed == 'none' else packed}), and {printable(device.name)} has"
        f" {in_gib(device.total_bytes)}; choose {ways}"
    )


def device_asked_for(options: Mapping[str, Any]) -> Device:
    """The device of --gpu or --vram, or the one that is there. Raises UserError."""
    if "gpu" in options and "vram" in options:
        raise UserError("--gpu and --vram: choose one of them")
    if "gpu" in options:
        return named_gpu(options["gpu"])
    return sized_gpu(options["vram"]) if "vram" in options else device_there()


def device_there() -> Device:
    """The GPU that a run would take, or this machine's memory, with what is free of it now."""
    import psutil

    from kto_tui.run.gpu import make_sampler

    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    readings = [each for each in make_sampler()(None) if each.kind != "host"]
    if readings and asked not in ("", "-1"):
        first = (asked or "0").split(",")[0]
        gpu = next((each for each in readings if str(each.index) == first), readings[0])
        return gpu_of(gpu.name, gpu.memory_total_bytes, gpu.memory_used_bytes)
    memory = psutil.virtual_memory()
    return Device("this machine's memory", "cpu", memory.total, memory.available)


def memory_report(
    config: RunConfig, counts: Counts, options: Mapping[str, Any]
) -> tuple[RunConfig, "MemoryReport | str"]:
    """The settings as they would run on the device of `options`, and the plan, or why there is none.

    Of the model its config is enough; what a start would lack beside that is noted. Raises UserError where
    there is not even that.
    """
    from kto_tui.report.memory_plan import MemoryReport

    device = device_asked_for(options)
    lacking = start_lacks(config)
    shape = shape_of(config, asks=lacking is None)
    if isinstance(shape, Unplanned):
        if lacking is not None:
            raise lacking
        return _without_plan(config, shape)[0], shape.reason
    lengths, room = lengths_of(counts, config), device.available_bytes
    found = fitted(config, shape, room, lengths, device.kind, _fixed(config, named_settings(options)))
    fit = found.config
    return fit, MemoryReport(
        plan=found.plan,
        device=device,
        largest_batch=largest_batch(shape, fit, lengths, device.kind, room),
        largest_length=largest_length(shape, fit, device.kind, room),
        advice=advice(fit, shape, found.plan, room),
        seconds_a_step=seconds_a_step(fit),
        notes=(
            *found.notes,
            *shape.notes,
            *([f"a start would be refused now: {lacking}"] if lacking else ()),
        ),
    )


def start_lacks(config: RunConfig) -> UserError | None:
    """Why no run could begin with the model as it lies here and on the hub; None where one could."""
    try:
        with_model(config)
    except UserError as error:
        return error
    return None


def seconds_a_step(config: RunConfig) -> float | None:
    """Of the run in --output-dir, if its steps were of the same work; None where it is not known."""

    assert config.output_dir is not None
    directory = RunDirectory(Path(config.output_dir))
    before = recorded_settings(directory)
    if before is None or any(getattr(before, name) != getattr(config, name) for name in _SAME_WORK):
        return None
    return _median_step(directory)


def _median_step(directory: RunDirectory) -> float | None:
    from kto_tui.core.events import StepLogged
    from kto_tui.run.journal import read_journal

    steps = [event for event in read_journal(directory.events) if isinstance(event, StepLogged)]
    pace = [(b.time - a.time) / (b.step - a.step) for a, b in itertools.pairwise(steps) if b.step > a.step]
    return statistics.median(pace) if len(pace) >= _ENOUGH_STEPS else None
