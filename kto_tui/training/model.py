"""The frozen base model and its tokenizer, loaded as the settings ask."""

import importlib.util
import logging
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.quantization_config import Mxfp4Config

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.core.events import AlertRaised
from kto_tui.core.sizes import format_size
from kto_tui.models.chain import adapter_without_base
from kto_tui.models.folder import has_tokenizer, packed_as, read_json
from kto_tui.training.adapters import rounding_alert
from kto_tui.training.arguments import compute_dtype
from kto_tui.training.beginning import beginning_of, pin
from kto_tui.training.loading import adapts_experts, require_fit, whole_model
from kto_tui.training.recovery import is_out_of_memory
from kto_tui.training.sources import Report, Source, locate
from kto_tui.training.suitable import check_by_trying, check_kind, own_code, settings_of
from kto_tui.training.targets import EVERY_LINEAR, Targets, adapter_parameters, choose_targets, is_stacked
from kto_tui.training.templates import apply_template

__all__ = ["Base", "adapter_parameters", "load_base"]

logger = logging.getLogger(__name__)

NF4_FROM_PARAMETERS = 2.5e9
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
    given, beginning = config, beginning_of(config, keeps=for_adapter is None)
    config, adapter = beginning.config, beginning.adapter
    assert config.model is not None
    try:
        source = locate(config, report)
    except UserError as error:
        if adapter is None:
            raise
        raise adapter_without_base(Path(str(given.model)), config.model, error) from error
    if adapter is not None:
        pin(adapter, source.revision)
    report(0, 0, "loading weights")
    with _blaming_files(config.model, Exception):  # Nothing but small files is read so far.
        settings = settings_of(config.model, str(source.folder))
        check_kind(config.model, settings)
        spoken = adapter if adapter and has_tokenizer(adapter) else source.folder
        tokenizer = load_tokenizer(config, spoken, settings)
        # What does not fit is told before the weights are loaded.
        if adapter is None:
            of_experts = bool(choose_targets(config, _skeleton(settings)).parameters)
        else:
            require_fit(f"--model {given.model} holds an adapter that", _skeleton(settings), adapter)
            of_experts = adapts_experts(adapter)
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


def _alerts(config: RunConfig, source: Source, quantization: str, dtype: str) -> tuple[AlertRaised, ...]:
    """What is not as it was asked for."""
    stored_as = quantization if quantization in ("nf4", "int8") else dtype
    found = (
        _packing_alert(config, source.folder, quantization),
        rounding_alert(source.folder, stored_as, source.label),
    )
    return tuple(alert for alert in found if alert is not None)


def _packing_alert(config: RunConfig, folder: Path, quantization: str) -> AlertRaised | None:
    """What to say where weights came packed, and other ones were asked for."""
    packing = read_json(folder / "config.json").get("quantization_config")
    asked, packed = config.quantization, packed_as(folder)
    if packed is None or asked in ("auto", quantization) or (asked == _bits(packing)):
        return None
    now = "are unpacked" if quantization == "none" else "stay so"
    return AlertRaised(
        kind="packed_otherwise",
        severity="warning",
        message=f"--quantization {asked}: the weights came packed as {printable(packed)}, and {now}",
        advice="Choose the model's unpacked twin for another quantization.",
    )


def _bits(packing: Any) -> str | None:
    """Which of our own ways of packing a folder's weights came in."""
    if not isinstance(packing, dict):
        return None
    if packing.get("load_in_4bit") and packing.get("bnb_4bit_quant_type") == "nf4":
        return "nf4"
    return "int8" if packing.get("load_in_8bit") else None


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


def load_tokenizer(
    config: RunConfig, folder: Path, settings: PretrainedConfig | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer with a pad token, and with the chat template of `config`. Raises UserError.

    `settings`: the model's own, which tell how many tokens it knows, where they are at hand.
    """
    try:
        found = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ValueError as error:
        if "trust_remote_code" in str(error):
            raise UserError(own_code(str(config.model))) from None
        raise
    assert isinstance(found, PreTrainedTokenizerBase)
    vocabulary = getattr(settings.get_text_config(), "vocab_size", None) if settings else None
    ensure_pad_token(found, vocabulary)
    _warn_of_unknown_tokens(str(config.model), found, vocabulary)
    if config.chat_template is not None:
        apply_template(found, config.chat_template)
    return found


def choose_quantization(config: RunConfig, settings: PretrainedConfig, *, of_experts: bool = False) -> str:
    """How the weights will be stored: as asked; auto is nf4 for large models on CUDA, else none.

    Weights that came packed stay so, but for those of MXFP4 (gpt-oss), which no gradient passes: they are
    unpacked, and packed anew where that is nf4. `of_experts`: experts get adapters, and are not packed.
    """
    if packed := getattr(settings, "quantization_config", None):
        method = packed.get("quant_method") if isinstance(packed, dict) else packed.quant_method
        name = str(getattr(method, "value", method))
        if name != "mxfp4":
            return name
        if of_experts or config.quantization == "int8":
            return "none"
    if config.quantization != "auto":
        return config.quantization
    if not torch.cuda.is_available():
        return "none"
    return "nf4" if _skeleton(settings).num_parameters() > NF4_FROM_PARAMETERS else "none"


def _skeleton(settings: PretrainedConfig) -> PreTrainedModel:
    """The model without weights."""
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(settings)  # type: ignore[no-untyped-call]
    assert isinstance(made, PreTrainedModel)
    return made


def _load_weights(config: RunConfig, folder: Path, quantization: str, *, experts: bool) -> PreTrainedModel:
    """`experts`: NF4 is for them, too. PEFT 0.21 can adapt none that are packed: what it adds at one pass is
    still there at the next.
    """
    dtype, name = compute_dtype(config), str(config.model)
    options: dict[str, Any] = {}
    if quantization == "nf4" and packed_as(folder) == "mxfp4":
        options["config"] = without_packing(settings_of(name, str(folder)))
    if packing := _packing(folder, quantization, dtype, experts=experts):
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
    _check_packing(name, model, quantization)
    if model.device.type == "cpu" and getattr(model, "is_loaded_in_4bit", False):
        keep_differentiable(model)
    return model


def _check_packing(name: str, model: PreTrainedModel, quantization: str) -> None:
    """Refuse weights through which no gradient passes; tell of those that stay unpacked. Raises UserError."""
    packer = getattr(model, "hf_quantizer", None)
    if packer is not None and quantization != "none" and not packer.is_trainable:
        raise UserError(
            f"--model {name}: packed as {quantization}, which takes no gradient; choose the unpacked model"
        )
    whole = [weight for name, weight in model.named_parameters() if is_stacked(name, weight)]
    if quantization in ("nf4", "int8", "bitsandbytes") and whole:
        size = sum(weight.numel() * weight.element_size() for weight in whole)
        why = (
            "adapters go on them, or they are too large"
            if quantization == "nf4"
            else "only linear layers are packed"
        )
        logger.warning("the weights of the experts, %s, stay unpacked: %s", format_size(size), why)


def keep_differentiable(model: PreTrainedModel) -> None:
    """Have 4-bit layers on a CPU compute training and evaluation in the same way, with gradients.

    Where the CPU has AVX512-BF16, bitsandbytes packs the weights anew at the first evaluation, for a
    kernel that knows no gradient: all that is trained after it would go on without the layers above.
    """
    import bitsandbytes

    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _packing(
    folder: Path, quantization: str, dtype: torch.dtype, *, experts: bool
) -> BitsAndBytesConfig | Mxfp4Config | None:
    """How weights are to be packed, or unpacked; None where they stay as they came."""
    of_mxfp4 = packed_as(folder) == "mxfp4"
    if of_mxfp4 and quantization != "nf4":
        return Mxfp4Config(dequantize=True)
    if quantization not in ("nf4", "int8"):
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"--quantization {quantization}: it needs a package; pip install bitsandbytes")
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    packing = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    if not experts:
        return packing
    from kto_tui.training.experts import with_experts

    return with_experts(packing, of_mxfp4=of_mxfp4)


def without_packing(settings: PretrainedConfig) -> PretrainedConfig:
    """The settings of a model whose weights came packed, as those of its plain twin."""
    del settings.quantization_config
    return settings


def ensure_pad_token(tokenizer: PreTrainedTokenizerBase, vocabulary: int | None = None) -> None:
    """Give a tokenizer without a pad token one that is no answer's end, if there is any.

    `vocabulary`: how many tokens the model knows; a pad token that was added later is none of them.
    Batches are masked by length, so even the end token as padding never hides a real end; nor does any
    other token, where there is no end token either.
    """
    known = vocabulary is None or (tokenizer.pad_token_id or 0) < vocabulary
    if tokenizer.pad_token is not None and known:
        return
    spare, end = tokenizer.unk_token, tokenizer.eos_token
    if spare and spare != end:
        tokenizer.pad_token = spare
    else:
        tokenizer.pad_token = end or tokenizer.convert_ids_to_tokens(0)


def _warn_of_unknown_tokens(name: str, tokenizer: PreTrainedTokenizerBase, vocabulary: int | None) -> None:
    beyond = [
        text for text, token in tokenizer.get_vocab().items() if token >= (vocabulary or len(tokenizer))
    ]
    if beyond:
        logger.warning(
            "--model %s: the tokenizer writes %d tokens that the model has no embedding for, such as %s; "
            "rows with them cannot be trained on",
            *(name, len(beyond), printable(beyond[0])),
        )
