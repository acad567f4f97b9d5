"""LLaMA-Factory's YAML for `stage: kto`, as its examples and argument classes have it."""

import os
from pathlib import Path

from kto_tui.core.config import ALL_LINEAR
from kto_tui.core.errors import UserError
from kto_tui.core.neighbours.data_sets import INDEX, Named, entries_of, find, take_columns
from kto_tui.core.neighbours.reading import Keys, is_off, number
from kto_tui.core.neighbours.shared import read_evaluation, read_shared
from kto_tui.core.setting import shown

NAME = "LLaMA-Factory"
MARKS = frozenset(
    {
        *("stage", "finetuning_type", "cutoff_len", "pref_beta", "kto_chosen_weight", "kto_rejected_weight"),
        *("lora_target", "quantization_bit", "dataset_dir", "template", "val_size"),
    }
)
HARMLESS = frozenset(
    {
        *("preprocessing_num_workers", "preprocessing_batch_size", "overwrite_cache"),
        *("flash_attn", "double_quantization", "use_unsloth_gc", "enable_liger_kernel", "use_fast_tokenizer"),
        *("tokenized_path", "pref_loss", "quantization_device_map", "media_dir", "print_param_status"),
        *("image_max_pixels", "image_min_pixels", "video_max_pixels", "video_min_pixels", "use_reentrant_gc"),
        *("upcast_layernorm", "hf_hub_token", "ms_hub_token", "om_hub_token", "buffer_size", "use_swanlab"),
        *(
            "swanlab_project",
            "swanlab_run_name",
            "ignore_pad_token_for_loss",
            "include_effective_tokens_per_second",
        ),
    }
)


def read_llama_factory(keys: Keys, folder: Path) -> None:
    """`folder` is that of the file. Raises UserError for another stage, or other weights than LoRA's."""
    if (stage := keys.take("stage")) is None:
        raise UserError(f"{keys.where}: stage is missing, which {NAME} takes for sft; expected stage: kto")
    if stage != "kto":
        raise keys.refuse("stage", shown(stage), "expected kto, the one that is trained here")
    if (kind := keys.take("finetuning_type", default="lora")) != "lora":
        raise keys.refuse("finetuning_type", shown(kind), "expected lora: adapters are what is trained here")
    read_shared(keys)
    rank = keys.take("lora_rank", default=8)
    keys.put("lora_rank", rank, "lora_rank")
    keys.put(
        "lora_alpha",
        keys.take("lora_alpha", default=rank * 2 if isinstance(rank, int) else rank),
        "lora_alpha",
    )
    if not is_off(dropout := keys.take("lora_dropout")):
        keys.leave("lora_dropout", dropout, f"{NAME} turns dropout off for this stage; so it is here")
    keys.put("lora_dropout", 0.0, "lora_dropout")
    target = keys.take("lora_target", default="all")
    keys.put("lora_target_modules", ALL_LINEAR if target == "all" else target, "lora_target")
    keys.move("pref_beta", "beta", 0.1)
    good, bad = keys.take("kto_chosen_weight", default=1.0), keys.take("kto_rejected_weight", default=1.0)
    keys.put("class_weights", f"{good}:{bad}", "kto_chosen_weight, kto_rejected_weight")
    keys.move("cutoff_len", "max_length", 2048)
    _read_model(keys)
    _read_data(keys, folder)


def _read_model(keys: Keys) -> None:
    bits = keys.take("quantization_bit")
    known: dict[int | None, str] = {None: "none", 4: "nf4", 8: "int8"}
    if not (bits is None or isinstance(bits, int)) or bits not in known:
        raise keys.refuse("quantization_bit", shown(bits), "expected 4 or 8")
    keys.put("quantization", known[bits], "quantization_bit")
    for key, usual in (("quantization_type", ("nf4",)), ("quantization_method", ("bnb", "bitsandbytes"))):
        if (value := keys.take(key)) not in (None, *usual):
            keys.leave(key, value, f"here: {usual[0]}")
    if keys.take("disable_gradient_checkpointing"):
        keys.put("gradient_checkpointing", "off", "disable_gradient_checkpointing")
    if adapter := keys.take("adapter_name_or_path"):
        why = "give it with --model: it is trained on, and what it was is the reference"
        keys.leave("adapter_name_or_path", adapter, why)
    if (revision := keys.take("model_revision", default="main")) != "main":
        keys.put("model_revision", revision, "model_revision")
    if (template := keys.take("template")) is not None:
        keys.leave("template", template, "the template of the model's tokenizer is taken, or --chat-template")


def _read_data(keys: Keys, folder: Path) -> None:
    """The names of data sets stand in dataset_info.json of dataset_dir, relative to where one is."""
    named = keys.take("dataset_dir", default="data")
    places = [Path(os.path.expanduser(str(named))), folder / str(named)]
    index = next((path for place in places if os.path.isfile(path := place / INDEX)), None)
    entries = entries_of(index) if index else {}
    trained = find(keys, "dataset", index, entries)
    apart = find(keys, "eval_dataset", index, entries)
    share = keys.take("val_size", default=0.0)
    evaluates = read_evaluation(keys)
    if trained:
        keys.put("dataset", _text(trained), "dataset")
    if not (apart and evaluates):
        apart = []
    take_columns(keys, trained, apart)
    if apart:
        keys.put("eval_dataset", _text(apart), "eval_dataset")
    elif (part := number(share)) is not None and 0 < part < 1:
        keys.put("eval_fraction", part, "val_size")
    else:
        keys.settings.pop("eval_steps", None)
        if not is_off(share):
            keys.leave("val_size", share, "expected a part of the rows; give --eval-fraction")


def _text(found: list[Named]) -> str:
    return ",".join(each.source for each in found)
