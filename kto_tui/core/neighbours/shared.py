"""Keys that TRL and LLaMA-Factory both have from transformers' TrainingArguments (5.23)."""

import math
from typing import Any

from kto_tui.core.neighbours.reading import Keys, is_off, listed, number
from kto_tui.core.setting import shown
from kto_tui.core.trackers import EXPECTED, TRACKERS

_SAME = {
    "model_name_or_path": "model",
    "weight_decay": "weight_decay",
    "seed": "seed",
    "output_dir": "output_dir",
    "save_total_limit": "save_total_limit",
    "run_name": "wandb_run_name",
    "project": "wandb_project",
}
# The optimizers of transformers whose arithmetic is that of one of ours.
_OPTIMIZERS = {
    "adamw_torch": "adamw_torch",
    "adamw_torch_fused": "adamw_torch",
    "adamw_hf": "adamw_torch",
    "paged_adamw_32bit": "adamw_torch",
    "paged_adamw": "adamw_torch",
    "adamw_8bit": "adamw_8bit",
    "adamw_bnb_8bit": "adamw_8bit",
    "paged_adamw_8bit": "adamw_8bit",
}
_MOST_PASSES = 4096
# With these values nothing is other than here.
_USUAL = {"adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8}
# What changes speed, memory, places or words, and not what is trained.
_HARMLESS = frozenset(
    {
        *("do_train", "do_eval", "do_predict", "overwrite_output_dir", "plot_loss", "ddp_timeout"),
        *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_prefetch_factor", "logging_dir"),
        *("dataloader_persistent_workers", "per_device_eval_batch_size", "eval_accumulation_steps"),
        *("gradient_checkpointing_kwargs", "save_strategy", "save_only_model", "save_safetensors"),
        *("logging_strategy", "logging_first_step", "log_level", "disable_tqdm", "tf32", "torch_compile"),
        *(
            "push_to_hub",
            "hub_model_id",
            "hub_strategy",
            "hub_private_repo",
            "hub_token",
            "deepspeed",
            "fsdp",
        ),
        *(
            "remove_unused_columns",
            "attn_implementation",
            "cache_dir",
            "use_liger_kernel",
            "dataset_text_field",
        ),
        *("include_num_input_tokens_seen", "ddp_find_unused_parameters", "trackio_space_id"),
        *(
            "skip_memory_metrics",
            "logging_nan_inf_filter",
            "eval_on_start",
            "low_cpu_mem_usage",
            "full_determinism",
        ),
        *(
            "torch_empty_cache_steps",
            "use_cpu",
            "greater_is_better",
            "metric_for_best_model",
            "trust_remote_code",
        ),
    }
)


def read_shared(keys: Keys) -> None:
    """What both have. A key that is left out is as transformers has it, where that is not as here."""
    for key, setting in _SAME.items():
        keys.move(key, setting)
    keys.move("learning_rate", "learning_rate", 5e-5)
    keys.move("num_train_epochs", "num_epochs", 3.0)
    keys.move("lr_scheduler_type", "lr_scheduler_type", "linear")
    keys.put("kl_scope", "micro_batch", "kl_scope")
    _read_steps(keys)
    _read_batch(keys)
    _read_warmup(keys)
    _read_numbers(keys)
    _read_trackers(keys)


def _read_steps(keys: Keys) -> None:
    steps = keys.take("max_steps")
    count = number(steps)
    if steps is not None and (count is None or count > 0):  # 0 and below are transformers' words for none.
        keys.put("max_steps", steps, "max_steps")
    _read_every(keys, "logging_steps", 10)
    _read_every(keys, "save_steps", 500)
    if not is_off(norm := keys.take("max_grad_norm", default=1.0)):
        keys.put("max_grad_norm", norm, "max_grad_norm")
    else:
        keys.leave("max_grad_norm", norm, "gradients are always clipped, to 1 where nothing else is said")
    if not is_off(value := keys.take("resume_from_checkpoint")):
        keys.leave("resume_from_checkpoint", value, "give --resume-from-checkpoint")


def _read_every(keys: Keys, key: str, default: Any) -> None:
    """So many steps; a value below 1 is a share of all of them, rounded up as transformers does."""
    value = keys.take(key, default=default)
    share, last = number(value), number(keys.settings.get("max_steps"))
    if share is None or not 0 < share < 1:
        keys.put(key, value, key)
    elif last is not None and last > 0:
        keys.put(key, math.ceil(last * share), key)
    else:
        keys.leave(key, value, f"of how many steps is not known yet; give --{key.replace('_', '-')}")


def _read_batch(keys: Keys) -> None:
    """A micro-batch of one row has no other row for its reference point: the same rows are put together."""
    rows = keys.take("per_device_train_batch_size", default=8)
    passes = keys.take("gradient_accumulation_steps", default=1)
    key = "per_device_train_batch_size"
    if rows == 1 and isinstance(passes, int) and 1 < passes <= _MOST_PASSES:
        rows = next(divisor for divisor in range(2, passes + 1) if passes % divisor == 0)
        passes //= rows
        keys.leave(key, 1, f"{rows} rows in {passes} micro-batches a step, which is as many rows")
    keys.put("batch_size", rows, key)
    keys.put("gradient_accumulation_steps", passes, "gradient_accumulation_steps")


def _read_warmup(keys: Keys) -> None:
    """Ours is a share of all steps. So is theirs below 1; from 1 it is a number of steps."""
    ratio, given = keys.take("warmup_ratio", default=0.0), keys.take("warmup_steps")
    steps, last = number(given), number(keys.settings.get("max_steps"))
    if given is None or steps == 0:
        keys.put("warmup_ratio", ratio, "warmup_ratio")
    elif steps is None or not steps >= 1:
        keys.put("warmup_ratio", given, "warmup_steps")
    elif last is not None and last > 0:
        keys.put("warmup_ratio", _share(int(steps), last), "warmup_steps")
        if steps > last:
            keys.leave("warmup_steps", given, "more than all steps; here all of them warm up")
    else:
        keys.leave("warmup_steps", given, "of how many steps is not known yet; give --warmup-ratio")
        keys.put("warmup_ratio", 0.0, "warmup_ratio")


def _share(steps: int, last: float) -> float:
    """The share of `last` steps that comes to these, where the trainer rounds their product up."""
    share = min(1.0, steps / last)
    return math.nextafter(share, 0.0) if math.ceil(last * share) > steps else share


def _read_numbers(keys: Keys) -> None:
    """Optimizer, dtype, and whether activations are computed again."""
    optimizer = str(keys.take("optim", default="adamw_torch"))
    if optimizer in _OPTIMIZERS:
        keys.put("optim", _OPTIMIZERS[optimizer], "optim")
    else:
        keys.leave("optim", optimizer, "here: adamw_torch or adamw_8bit")
    bfloat, half = keys.take("bf16", "pure_bf16"), keys.take("fp16")
    if bfloat or half:
        keys.put("dtype", "bfloat16" if bfloat else "float16", "bf16" if bfloat else "fp16")
    elif bfloat is False:
        keys.put("dtype", "float32", "bf16")
    if (again := keys.take("gradient_checkpointing")) is not None:
        keys.put("gradient_checkpointing", again, "gradient_checkpointing")


def _read_trackers(keys: Keys) -> None:
    names = [name for name in listed(keys.take("report_to")) if not is_off(name)]
    if "all" in names:
        keys.leave("report_to", "all", f"trackers are named here; {EXPECTED}")
        names.remove("all")
    known = [name for name in names if name in TRACKERS]
    if known:
        keys.put("report_to", known, "report_to")
    keys.ignored += [f"report_to {shown(name)}" for name in names if name not in TRACKERS]


def read_evaluation(keys: Keys) -> bool:
    """Whether evaluations were asked for; how often is put down where they were."""
    when = keys.take("eval_strategy", "evaluation_strategy", default="no")
    if is_off(when):
        keys.ignored += ["eval_steps"] if keys.take("eval_steps") is not None else []
        return False
    if when != "steps":
        keys.leave("eval_strategy", when, "evaluated each eval_steps, or save_steps")
    if is_off(keys.values.get("eval_steps")):  # For transformers 0 is as nothing.
        keys.values.pop("eval_steps", None)
    if when == "steps" or "eval_steps" in keys.values:
        _read_every(keys, "eval_steps", keys.settings.get("logging_steps", 10))
    return True


def sort_rest(keys: Keys, harmless: frozenset[str], ours: frozenset[str]) -> None:
    """What no rule took: a setting of ours, something without effect, or something that is missing here."""
    for key, value in keys.values.items():
        name = key.replace("-", "_")
        if name in ours and value is not None and keys.is_assumed(name):
            keys.put(name, value, key)
        elif name in harmless or name in _HARMLESS or _is_nothing(name, value):
            keys.ignored.append(key)
        else:
            keys.leave(key, value, "not known here")


def _is_nothing(name: str, value: Any) -> bool:
    """Whether a value is as if its key were not there."""
    usual = name in _USUAL and number(value) == _USUAL[name]
    return usual or (is_off(value) and not isinstance(value, str))
