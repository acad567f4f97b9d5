"""The frozen base model and its tokenizer, loaded as the settings ask."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError, one_line
from kto_tui.training.arguments import compute_dtype
from kto_tui.training.sources import Report, Source, locate

NF4_FROM_PARAMETERS = 2.5e9


@dataclass(frozen=True)
class Base:
    """A loaded base model. `quantization` is nf4, int8, none, or the method the model came with."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: Source
    quantization: str
    dtype: str


def load_base(
    config: RunConfig,
    report: Report,
    on_tokenizer: Callable[[PreTrainedTokenizerBase], None] = lambda _: None,
) -> Base:
    """Find and load `config.model`; the tokenizer is handed over as soon as it is there.

    Raises UserError when the model cannot be had or is no causal model.
    """
    source = locate(config, report)
    report(0, 0, "loading weights")
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder, local_files_only=True)
        ensure_pad_token(tokenizer)
        on_tokenizer(tokenizer)
        quantization = choose_quantization(config, source.folder)
        model = _load_weights(config, source.folder, quantization)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"--model {config.model}: it cannot be loaded; {one_line(error)[:300]}") from error
    # Adapters name their base by this, so it is what the user asked for and not where the files lie.
    assert config.model is not None
    model.name_or_path = model.config._name_or_path = config.model
    dtype = str(compute_dtype(config)).removeprefix("torch.")
    return Base(model, tokenizer, source, quantization, dtype)


def adapter_parameters(model: PreTrainedModel, rank: int) -> int:
    """How many parameters LoRA of this rank will train: on every linear layer of the model but its head."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    count = 0
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            count += rank * (module.in_features + module.out_features)
        elif isinstance(module, Conv1D):
            count += rank * sum(module.weight.shape)
    return count


def choose_quantization(config: RunConfig, folder: Path) -> str:
    """How the weights will be stored: as asked; auto is nf4 for large models on CUDA, else none."""
    shipped = AutoConfig.from_pretrained(folder, local_files_only=True)
    if packed := getattr(shipped, "quantization_config", None):
        method = packed.get("quant_method") if isinstance(packed, dict) else packed.quant_method
        return str(getattr(method, "value", method))
    if config.quantization != "auto":
        return config.quantization
    if not torch.cuda.is_available():
        return "none"
    with torch.device("meta"):
        parameters = AutoModelForCausalLM.from_config(shipped).num_parameters()  # type: ignore[no-untyped-call]
    return "nf4" if parameters > NF4_FROM_PARAMETERS else "none"


def _load_weights(config: RunConfig, folder: Path, quantization: str) -> PreTrainedModel:
    dtype = compute_dtype(config)
    packing = _bitsandbytes(quantization, dtype)
    device = 0 if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        quantization_config=packing,
        device_map={"": device} if packing or device == 0 else None,
        local_files_only=True,
    )
    assert isinstance(model, PreTrainedModel)
    if model.device.type == "cpu" and getattr(model, "is_loaded_in_4bit", False):
        keep_differentiable(model)
    return model


def keep_differentiable(model: PreTrainedModel) -> None:
    """Have 4-bit layers on a CPU compute training and evaluation in the same way, with gradients.

    Where the CPU has AVX512-BF16, bitsandbytes packs the weights anew at the first evaluation, for a
    kernel that knows no gradient: all that is trained after it would go on without the layers above.
    """
    import bitsandbytes

    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _bitsandbytes(quantization: str, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    if quantization not in ("nf4", "int8"):
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"--quantization {quantization}: it needs a package; pip install bitsandbytes")
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def ensure_pad_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer without a pad token one that is no answer's end, if there is any.

    Batches are masked by length, so even the end token as padding never hides a real end; nor does any
    other token, where there is no end token either.
    """
    if tokenizer.pad_token is not None:
        return
    spare, end = tokenizer.unk_token, tokenizer.eos_token
    if spare and spare != end:
        tokenizer.pad_token = spare
    else:
        tokenizer.pad_token = end or tokenizer.convert_ids_to_tokens(0)
