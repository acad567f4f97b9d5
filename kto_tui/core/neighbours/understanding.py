"""Whose settings file it is, told by the keys in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.core.neighbours import llama_factory, trl
from kto_tui.core.neighbours.reading import Keys, Understood
from kto_tui.core.neighbours.shared import sort_rest
from kto_tui.core.setting import shown

# Our settings whose names a neighbour has, too. By any other of them a file is one of ours.
_COMMON = frozenset(
    {
        *("model_revision", "lora_rank", "lora_alpha", "lora_dropout", "lora_target_modules", "dtype"),
        "dataset",
        *("eval_dataset", "max_length", "loss_type", "beta", "max_steps", "gradient_accumulation_steps"),
        *("gradient_checkpointing", "learning_rate", "lr_scheduler_type", "warmup_ratio", "optim"),
        *("weight_decay", "max_grad_norm", "seed", "output_dir", "logging_steps", "save_steps"),
        *("save_total_limit", "eval_steps", "report_to", "resume_from_checkpoint"),
    }
)
_HERE = {
    "model_name_or_path": "model",
    "num_train_epochs": "num_epochs",
    "per_device_train_batch_size": "batch_size",
    "lora_r": "lora_rank",
    "lora_target": "lora_target_modules",
    "disable_dropout": "lora_dropout",
    "load_in_4bit": "quantization",
    "load_in_8bit": "quantization",
    "quantization_bit": "quantization",
    "dataset_name": "dataset",
    "dataset_config": "dataset",
    "dataset_train_split": "dataset",
    "val_size": "eval_fraction",
    "template": "chat_template",
    "cutoff_len": "max_length",
    "pref_beta": "beta",
    "desirable_weight": "class_weights",
    "undesirable_weight": "class_weights",
    "kto_chosen_weight": "class_weights",
    "kto_rejected_weight": "class_weights",
}


def understand(
    values: Mapping[str, Any], where: str, folder: Path, ours: frozenset[str]
) -> Understood | None:
    """A neighbour's file in our words, or None for one that is nobody's.

    `where` names the file in messages, `folder` is the one it lies in, `ours` the names of our settings.
    Raises UserError for what could not be trained here, and for the keys of two programs in one file.
    """
    names = {key.replace("-", "_") for key in values} - ours
    keys = Keys(where, dict(values))
    own = next((key for key in values if key in ours - _COMMON), None)
    foreign = next((key for key in values if key in names & (llama_factory.MARKS | trl.MARKS)), None)
    if own and foreign:
        here = f"here it is {_HERE[foreign]}" if foreign in _HERE else "leave it out"
        raise UserError(f"{where}, key {shown(foreign)}: no such setting; {here} ({own} is kto-tui's own)")
    if names & llama_factory.MARKS:
        llama_factory.read_llama_factory(keys, folder)
        sort_rest(keys, llama_factory.HARMLESS, ours)
        name = llama_factory.NAME
    elif names & trl.MARKS:
        trl.read_trl(keys)
        sort_rest(keys, trl.HARMLESS, ours)
        name = trl.NAME
    else:
        return None
    return Understood(
        name,
        keys.settings,
        keys.sources,
        tuple(keys.ignored),
        tuple(keys.unsupported),
        frozenset(filter(keys.is_assumed, keys.settings)),
    )
