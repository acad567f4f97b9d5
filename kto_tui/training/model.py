"""The frozen base model and its tokenizer, loaded as the settings ask."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.core.events import AlertRaised
from kto_tui.models.chain import adapter_without_base
from kto_tui.models.folder import has_tokenizer, packed_as
from kto_tui.training.adapters import rounding_alert
from kto_tui.training.arguments import compute_dtype
from kto_tui.training.beginning import Beginning, beginning_of, pin
from kto_tui.training.loading import adapts_experts, require_fit, whole_model
from kto_tui.training.packing import (
    check_packing,
    choose_quantization,
    keep_differentiable,
    packing_alert,
    packing_of,
    skeleton,
    without_packing,
)
from kto_tui.training.recovery import is_out_of_memory
from kto_tui.training.sources import Report, Source, locate
from kto_tui.training.suitable import check_by_trying, check_kind, settings_of
from kto_tui.training.targets import EVERY_LINEAR, Targets, adapter_parameters, choose_targets
from kto_tui.training.tokenizer import load_tokenizer

__all__ = ["Base", "adapter_parameters", "load_base"]

_NOT_LOADED = (OSError, ValueError, ImportError, SafetensorError, pickle.UnpicklingError)


@dataclass(frozen=True)
class Base:
    """A loaded base model. `quantization` is nf4, int8, none, or the method the model came with.

    `name`: what adapters call it, a hub id or a folder. `adapter`: the folder of the one that training goes
    on with, as the reference keeps it; None where it begins with a new one, on the layers in `targets`.
    `alerts`: what the user should know of it.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: Source
    quantization: str
    dtype: str
    name: str
    targets: Targets = EVERY_LINEAR
    adapter: Path | None = None
    alerts: tuple[AlertRaised, ...] = ()


def load_base(
    config: RunConfig,
    report: Report,
    on_tokenizer: Callable[[PreTrainedTokenizerBase, Path], None] = lambda *_: None,
    *,
    for_adapter: Path | None = None,
) -> Base:
    """Find and load `config.model`; the tokenizer and the model's folder are handed over as soon
    as they are there. `for_adapter`: the folder of one that will be put on it.

    Raises UserError when the model cannot be had, is none that can be trained here, or has not the layers or
    the chat template that `config` names.
    """
    given, beginning = config, beginning_of(config, for_adapter)
    config, adapter = beginning.config, beginning.adapter
    assert config.model is not None
    source = _source(given, beginning, report)
    report(0, 0, "loading weights")
    with _blaming_files(config.model, Exception):  # Nothing but small files is read so far.
        settings = settings_of(config.model, str(source.folder))
        check_kind(config.model, settings)
        spoken = adapter if adapter and has_tokenizer(adapter) else source.folder
        tokenizer = load_tokenizer(config, spoken, settings)
        of_experts = _fits(given, config, settings, adapter)
        of_experts = of_experts or (for_adapter is not None and adapts_experts(for_adapter))
        quantization = choose_quantization(config, settings, of_experts=of_experts)
    on_tokenizer(tokenizer, source.folder)
    with _blaming_files(config.model, *_NOT_LOADED):
        model = _load_weights(config, source.folder, quantization, experts=not of_experts)
    targets = choose_targets(config, model) if adapter is None else EVERY_LINEAR
    check_by_trying(config.model, model, tokenizer)
    # Adapters name their base by this, so it is what the user asked for and not where the files lie.
    model.name_or_path = model.config._name_or_path = config.model
    dtype = str(compute_dtype(config)).removeprefix("torch.")
    alerts = _alerts(config, source, quantization, dtype)
    return Base(model, tokenizer, source, quantization, dtype, config.model, targets, adapter, alerts)


def _source(given: RunConfig, beginning: Beginning, report: Report) -> Source:
    """Where the base is; the commit of one of the hub is noted for later sittings. Raises UserError."""
    adapter, base = beginning.adapter, str(beginning.config.model)
    try:
        source = locate(beginning.config, report)
    except UserError as error:
        if adapter is None:
            raise
        raise adapter_without_base(Path(str(given.model)), base, error) from error
    if adapter is not None:
        pin(adapter, source.revision)
    return source


def _fits(given: RunConfig, config: RunConfig, settings: PretrainedConfig, adapter: Path | None) -> bool:
    """Whether experts are adapted. Raises UserError where layers that were named, or an adapter, do not fit.

    That is told before the weights are loaded.
    """
    bare = skeleton(settings)
    if adapter is None:
        return bool(choose_targets(config, bare).parameters)
    require_fit(f"--model {given.model} holds an adapter that", bare, adapter)
    return adapts_experts(adapter)


def _alerts(config: RunConfig, source: Source, quantization: str, dtype: str) -> tuple[AlertRaised, ...]:
    """What is not as it was asked for."""
    stored_as = quantization if quantization in ("nf4", "int8") else dtype
    found = (
        packing_alert(config, source.folder, quantization),
        rounding_alert(source.folder, stored_as, source.label),
    )
    return tuple(alert for alert in found if alert is not None)


@contextmanager
def _blaming_files(name: str, *errors: type[Exception]) -> Iterator[None]:
    """Of these errors, say that the model's files are at fault. Raises UserError."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except errors as error:
        said = printable(one_line(error))[:300]
        raise UserError(f"--model {name}: it cannot be loaded; {said}") from error


def _load_weights(config: RunConfig, folder: Path, quantization: str, *, experts: bool) -> PreTrainedModel:
    """`experts`: NF4 is for them, too. PEFT 0.21 can adapt none that are packed: what it adds at one pass is
    still there at the next.
    """
    dtype, name = compute_dtype(config), str(config.model)
    options: dict[str, Any] = {}
    if quantization == "nf4" and packed_as(folder) == "mxfp4":
        options["config"] = without_packing(settings_of(name, str(folder)))
    if packing := packing_of(folder, quantization, dtype, experts=experts):
        options["quantization_config"] = packing  # None would undo what weights say that came packed.
    device = 0 if torch.cuda.is_available() else "cpu"
    if packing or device == 0:
        options["device_map"] = {"": device}
    try:
        fills = packed_as(folder) is not None and quantization != "nf4"
        model = whole_model(f"--model {name}", folder, fills=fills, dtype=dtype, **options)
    except RuntimeError as error:
        if "ignore_mismatched_sizes" in str(error):
            said = "its weights are of other sizes than its config.json"
        elif (method := packed_as(folder)) and not is_out_of_memory(error):
            said = f"packed as {printable(method)}, which does not load here; {one_line(error)[:300]}"
        else:
            raise
        raise UserError(f"--model {name}: {said}") from error
    check_packing(name, model, quantization)
    if model.device.type == "cpu" and getattr(model, "is_loaded_in_4bit", False):
        keep_differentiable(model)
    return model
