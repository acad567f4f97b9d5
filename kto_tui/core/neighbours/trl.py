"""`trl kto --config FILE`: the keys of TRL 1.16's KTOConfig, ModelConfig and ScriptArguments."""

from typing import Any

from kto_tui.core.config import ALL_LINEAR
from kto_tui.core.neighbours.reading import Keys, is_off, listed
from kto_tui.core.neighbours.shared import read_evaluation, read_shared

NAME = "TRL"
# Keys that neither our own files nor LLaMA-Factory's hold.
MARKS = frozenset(
    {
        *(
            "dataset_name",
            "dataset_config",
            "dataset_train_split",
            "use_peft",
            "load_in_4bit",
            "load_in_8bit",
        ),
        *("desirable_weight", "undesirable_weight", "lora_r", "model_name_or_path", "num_train_epochs"),
        *("per_device_train_batch_size", "precompute_ref_log_probs", "disable_dropout"),
    }
)
HARMLESS = frozenset(
    {
        *("precompute_ref_log_probs", "precompute_ref_batch_size", "dataset_num_proc"),
        *("dataset_streaming", "pad_to_multiple_of", "use_bnb_nested_quant", "bnb_4bit_quant_storage"),
        *(
            "activation_offloading",
            "ignore_bias_buffers",
            "env",
            "dataset_test_split",
            "train_sampling_strategy",
        ),
    }
)
_FULL = "LoRA adapters are trained here, never all weights: set use_peft: true"


def read_trl(keys: Keys) -> None:
    """Raises UserError for a run that would train all weights."""
    _read_adapter(keys)
    keys.values.setdefault("learning_rate", 1e-6)
    read_shared(keys)
    if "max_length" in keys.values and keys.values["max_length"] is None:
        keys.leave("max_length", None, "rows have a longest length here; give --max-length")
    for key in ("beta", "max_length", "loss_type"):
        keys.move(key, key)
    good, bad = keys.take("desirable_weight", default=1.0), keys.take("undesirable_weight", default=1.0)
    keys.put("class_weights", f"{good}:{bad}", "desirable_weight, undesirable_weight")
    _read_model(keys)
    _read_data(keys)


def _read_adapter(keys: Keys) -> None:
    used = keys.take("use_peft")
    if used is False:
        raise keys.refuse("use_peft", "false", _FULL)
    if used is None:
        keys.leave("use_peft", None, "TRL would train all weights; here LoRA adapters are trained")
    keys.move("lora_r", "lora_rank", 16)
    keys.move("lora_alpha", "lora_alpha", 32)
    _read_dropout(keys)
    targets = [*listed(keys.take("lora_target_modules")), *listed(keys.take("lora_target_parameters"))]
    if not targets:
        keys.leave("lora_target_modules", None, "PEFT's choice for this model; here: every linear layer")
    keys.put("lora_target_modules", ",".join(map(str, targets)) or ALL_LINEAR, "lora_target_modules")
    if (task := keys.take("lora_task_type")) not in (None, "CAUSAL_LM"):
        raise keys.refuse("lora_task_type", str(task), "expected CAUSAL_LM")


def _read_dropout(keys: Keys) -> None:
    """TRL turns off every dropout, the adapters' own too, unless it is told otherwise."""
    off, share = keys.take("disable_dropout", default=True), keys.take("lora_dropout")
    keys.put("lora_dropout", 0.0 if off else 0.05 if share is None else share, "lora_dropout")
    if off and not is_off(share):
        keys.ignored.append("lora_dropout")


def _read_model(keys: Keys) -> None:
    four, eight = keys.take("load_in_4bit"), keys.take("load_in_8bit")
    key = "load_in_8bit" if eight else "load_in_4bit"
    keys.put("quantization", "nf4" if four else "int8" if eight else "none", key)
    if (kind := keys.take("bnb_4bit_quant_type", default="nf4")) != "nf4":
        keys.leave("bnb_4bit_quant_type", kind, "4 bit are nf4 here")
    if (revision := keys.take("model_revision", default="main")) != "main":
        keys.put("model_revision", revision, "model_revision")
    dtype = keys.take("dtype", "torch_dtype")
    if dtype not in (None, "auto") and "dtype" not in keys.settings:
        keys.put("dtype", dtype, "dtype")


def _read_data(keys: Keys) -> None:
    name, config = keys.take("dataset_name"), keys.take("dataset_config")
    train, test = keys.take("dataset_train_split", default="train"), keys.take("dataset_test_split")
    if (mixture := keys.take("datasets")) is not None:
        keys.leave("datasets", mixture, "give each with --dataset")
        name = None
    evaluates = read_evaluation(keys)
    if name is None:
        return
    keys.put("dataset", _source(name, config, train, "train"), "dataset_name")
    if evaluates:
        keys.put("eval_dataset", _source(name, config, test or "test", None), "dataset_test_split")


def _source(name: Any, config: Any, split: Any, usual: str | None) -> str:
    """The hub id as --dataset takes it: owner/name:CONFIG:SPLIT."""
    if split == usual:
        return f"{name}:{config}" if not is_off(config) else str(name)
    return f"{name}:{config or ''}:{split}"
