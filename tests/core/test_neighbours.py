"""Settings files of TRL and LLaMA-Factory, as their own examples have them."""

import json
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.core.resolve import read_settings, resolve, settings_notes

LLAMA_FACTORY = """
### model
model_name_or_path: owner/model-4b-instruct
trust_remote_code: true
### method
stage: kto
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
pref_beta: 0.2
kto_chosen_weight: 1.5
### dataset
dataset: rated
dataset_dir: data
template: qwen3_nothink
cutoff_len: 2048
max_samples: 1000
preprocessing_num_workers: 16
### output
output_dir: saves/kto
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
report_to: none  # choices: [none, wandb, tensorboard, swanlab, mlflow]
### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 5.0e-6
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
### eval
val_size: 0.1
per_device_eval_batch_size: 1
eval_strategy: steps
eval_steps: 250
"""
TRL = """
model_name_or_path: owner/model-1.8b-sft
dataset_name: trl-lib/kto-mix-14k
per_device_train_batch_size: 8
num_train_epochs: 1
learning_rate: 5.0e-7
lr_scheduler_type: cosine
gradient_accumulation_steps: 1
eval_steps: 500
output_dir: kto-aligned-model-lora
warmup_steps: 0.1
logging_first_step: true
beta: 0.3
desirable_weight: 1.0
undesirable_weight: 1.33
use_peft: true
load_in_4bit: true
lora_target_modules: all-linear
lora_r: 32
lora_alpha: 16
use_rslora: true
report_to: [wandb, comet_ml]
"""


def write(folder: Path, text: str, **changes: Any) -> Path:
    """The file with some keys other than in `text`; None leaves one out."""
    lines = [line for line in text.splitlines() if line.split(":")[0] not in changes]
    lines += [f"{key}: {json.dumps(value)}" for key, value in changes.items() if value is not None]
    path = folder / "theirs.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def data_folder(folder: Path, **entries: Any) -> Path:
    (folder / "data").mkdir()
    (folder / "data" / "dataset_info.json").write_text(json.dumps(entries))
    return folder


def test_llama_factory(tmp_path: Path) -> None:
    columns = {"messages": "messages", "kto_tag": "thumb"}
    data_folder(tmp_path, rated={"file_name": "rated.json", "formatting": "sharegpt", "columns": columns})
    path = write(tmp_path, LLAMA_FACTORY)
    assert read_settings(path) == {
        "model": "owner/model-4b-instruct", "lora_rank": 8, "lora_alpha": 16, "lora_dropout": 0.0,
        "lora_target_modules": "all-linear", "beta": 0.2, "class_weights": "1.5:1.0", "max_length": 2048,
        "dataset": str(tmp_path / "data" / "rated.json"), "label_column": "thumb", "output_dir": "saves/kto",
        "logging_steps": 10, "save_steps": 500, "batch_size": 2, "gradient_accumulation_steps": 4,
        "learning_rate": 5e-6, "num_epochs": 3.0, "lr_scheduler_type": "cosine", "warmup_ratio": 0.1,
        "dtype": "bfloat16", "eval_fraction": 0.1, "eval_steps": 250, "quantization": "none",
        "max_grad_norm": 1.0, "optim": "adamw_torch",
    }  # fmt: skip
    read_as, not_followed, ignored = settings_notes(path)
    assert "read as LLaMA-Factory's" in read_as
    for key in (
        "per_device_train_batch_size: 1 (2 rows in 4 micro-batches",
        "template: ",
        "max_samples: 1000",
    ):
        assert key in not_followed
    assert ignored.endswith("trust_remote_code, do_train, preprocessing_num_workers, plot_loss, "
                            "overwrite_output_dir, ddp_timeout, per_device_eval_batch_size")  # fmt: skip


def test_trl(tmp_path: Path) -> None:
    path = write(tmp_path, TRL)
    assert read_settings(path) == {
        "model": "owner/model-1.8b-sft", "dataset": "trl-lib/kto-mix-14k", "batch_size": 8, "num_epochs": 1.0,
        "learning_rate": 5e-7, "lr_scheduler_type": "cosine", "gradient_accumulation_steps": 1,
        "output_dir": "kto-aligned-model-lora", "warmup_ratio": 0.1, "beta": 0.3, "quantization": "nf4",
        "class_weights": "1.0:1.33", "lora_rank": 32, "lora_alpha": 16, "lora_dropout": 0.05,
        "lora_target_modules": "all-linear", "report_to": "wandb", "logging_steps": 10, "save_steps": 500,
        "max_grad_norm": 1.0, "optim": "adamw_torch",
    }  # fmt: skip
    _, not_followed, ignored = settings_notes(path)
    assert not_followed.endswith("not followed here: use_rslora: True (not known here)")
    assert ignored.endswith("without effect here: report_to 'comet_ml', eval_steps, logging_first_step")


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        (TRL, {"warmup_steps": 20, "max_steps": 80}, {"warmup_ratio": 0.25, "max_steps": 80}),
        (TRL, {"warmup_steps": None, "max_steps": -1}, {"warmup_ratio": 0.0, "max_steps": None}),
        (TRL, {"learning_rate": None, "num_train_epochs": None}, {"learning_rate": 1e-6, "num_epochs": 3.0}),
        (TRL, {"dataset_train_split": "part"}, {"dataset": "trl-lib/kto-mix-14k::part"}),
        (TRL, {"dataset_config": "c"}, {"dataset": "trl-lib/kto-mix-14k:c"}),
        (TRL, {"eval_strategy": "steps"}, {"eval_dataset": "trl-lib/kto-mix-14k::test", "eval_steps": 500}),
        (TRL, {"gradient_checkpointing": False}, {"gradient_checkpointing": "off"}),
        (TRL, {"fp16": True, "optim": "paged_adamw_8bit"}, {"dtype": "float16", "optim": "adamw_8bit"}),
        (TRL, {"lora_target_modules": ["q_proj", "v_proj"]}, {"lora_target_modules": "q_proj,v_proj"}),
        (TRL, {"load_in_4bit": None, "load_in_8bit": True}, {"quantization": "int8"}),
        (TRL, {"class_weights": "auto", "max_grad_norm": 0.5}, {"max_grad_norm": 0.5}),
        (TRL, {"reference_cache": False}, {"reference_cache": "off"}),
        (LLAMA_FACTORY, {"learning_rate": None}, {"learning_rate": 5e-5}),
        (LLAMA_FACTORY, {"lora_alpha": 5, "lora_target": "q_proj"}, {"lora_alpha": 5}),
        (LLAMA_FACTORY, {"quantization_bit": 4}, {"quantization": "nf4"}),
        (LLAMA_FACTORY, {"gradient_accumulation_steps": 9}, {"batch_size": 3}),
        (LLAMA_FACTORY, {"dataset": "rated,there"}, {"dataset": "data/rated.json,o/n:s:p"}),
        (LLAMA_FACTORY, {"dataset": "strange"}, {"dataset": None}),
        (LLAMA_FACTORY, {"report_to": "tensorboard,swanlab"}, {"report_to": "tensorboard"}),
    ],
)
def test_meanings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    changes: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    monkeypatch.chdir(data_folder(
        tmp_path, rated={"file_name": "rated.json"}, there={"hf_hub_url": "o/n", "subset": "s", "split": "p"}
    ))  # fmt: skip
    found = read_settings(write(tmp_path, text, **changes))
    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        (LLAMA_FACTORY, {"stage": "dpo"}, "key 'stage': found 'dpo'; expected kto"),
        (LLAMA_FACTORY, {"stage": None}, "key 'stage': found 'sft'; expected kto"),
        (LLAMA_FACTORY, {"finetuning_type": "full"}, "key 'finetuning_type': found 'full'; expected lora"),
        (LLAMA_FACTORY, {"quantization_bit": 3}, "key 'quantization_bit': found 3; expected 4 or 8"),
        (LLAMA_FACTORY, {"cutoff_len": "long"}, "key 'cutoff_len': found 'long'; expected a whole number"),
        (TRL, {"use_peft": False}, "key 'use_peft': found false; LoRA adapters are trained here"),
        (TRL, {"num_train_epochs": {"a": 1}}, "key 'num_train_epochs': found a mapping; expected a number"),
        (TRL, {"per_device_train_batch_size": 1}, "'per_device_train_batch_size': found 1; expected a whole"),
    ],
)
def test_refusals(tmp_path: Path, text: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=r"\Asettings file [^\n]*\Z") as raised:
        read_settings(write(tmp_path, text, **changes))
    assert words in str(raised.value)


@pytest.mark.parametrize("text", [TRL, LLAMA_FACTORY])
@pytest.mark.parametrize("odd", [None, True, -1, 1e300, 10**30, "\0", [], {}, [{}], ["a", None], "x" * 5000])
def test_odd_values_end_in_settings_or_one_line(tmp_path: Path, text: str, odd: Any) -> None:
    keys = [line.split(":")[0] for line in text.splitlines() if ":" in line and not line.startswith("#")]
    for key in keys:
        path = write(tmp_path, text, **{key: odd})
        said = [""]
        try:
            RunConfig(**read_settings(path))
            said = [*settings_notes(path)]
        except UserError as error:
            said = [str(error)]
        assert not [line for line in said if "\n" in line or "\0" in line]


def test_the_command_line_wins_and_the_file_over_the_preset(tmp_path: Path) -> None:
    config = resolve({"beta": 0.7}, write(tmp_path, TRL, model_size="tiny"))
    assert (config.beta, config.lora_rank, config.model) == (0.7, 32, "owner/model-1.8b-sft")


def test_our_own_files_are_read_as_before(tmp_path: Path) -> None:
    path = write(tmp_path, "model: m\nbatch-size: 6\nbeta: 0.4\n")
    assert read_settings(path) == {"model": "m", "batch_size": 6, "beta": 0.4}
    assert settings_notes(path) == ()
    with pytest.raises(UserError, match="key 'num_epoch': no such setting"):
        read_settings(write(tmp_path, "model: m\n", num_epoch=1))
