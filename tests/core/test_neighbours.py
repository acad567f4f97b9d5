"""Settings files of TRL and LLaMA-Factory, as their own examples have them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.core.resolve import given_settings, read_settings, resolve, settings_notes

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
        "max_grad_norm": 1.0, "optim": "adamw_torch", "kl_scope": "micro_batch",
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
        "class_weights": "1.0:1.33", "lora_rank": 32, "lora_alpha": 16, "lora_dropout": 0.0,
        "lora_target_modules": "all-linear", "report_to": "wandb", "logging_steps": 10, "save_steps": 500,
        "max_grad_norm": 1.0, "optim": "adamw_torch", "kl_scope": "micro_batch",
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
        (TRL, {"max_grad_norm": 0.5}, {"max_grad_norm": 0.5}),
        (TRL, {"model_revision": "v1"}, {"model_revision": "v1"}),
        (TRL, {"lora_r": None, "lora_rank": 64}, {"lora_rank": 64}),
        (TRL, {"lora_dropout": 0.1}, {"lora_dropout": 0.0}),
        (TRL, {"disable_dropout": False}, {"lora_dropout": 0.05}),
        (TRL, {"disable_dropout": False, "lora_dropout": 0.1}, {"lora_dropout": 0.1}),
        (TRL, {"max_steps": 0, "save_steps": 0.1}, {"max_steps": None, "save_steps": None}),
        (
            TRL,
            {"max_steps": 25, "save_steps": 0.1, "logging_steps": 0.04},
            {"save_steps": 3, "logging_steps": 1},
        ),
        (TRL, {"eval_strategy": "epoch", "eval_steps": 5}, {"eval_steps": 5}),
        (TRL, {"eval_strategy": "epoch", "eval_steps": None}, {"eval_steps": None}),
        (TRL, {"report_to": "all"}, {"report_to": None}),
        (LLAMA_FACTORY, {"lora_dropout": 0.1}, {"lora_dropout": 0.0}),
        (LLAMA_FACTORY, {"cutoff_len": None, "max_length": 512}, {"max_length": 512}),
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
        (
            LLAMA_FACTORY,
            {"stage": None},
            "stage is missing, which LLaMA-Factory takes for sft; expected stage",
        ),
        (
            TRL,
            {"model_size": "7b"},
            "key 'model_name_or_path': no such setting; here it is model (model_size is",
        ),
        (LLAMA_FACTORY, {"batch_size": 4}, "here it is model (batch_size is kto-tui's own)"),
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
    config = resolve({"beta": 0.7, "model_size": "tiny"}, write(tmp_path, TRL))
    assert (config.beta, config.lora_rank, config.model) == (0.7, 32, "owner/model-1.8b-sft")


@pytest.mark.parametrize(("steps", "last"), [(7, 100), (29, 100), (1, 3), (10, 10), (13, 1001), (30, 10)])
def test_warm_up_of_so_many_steps_is_exactly_that(tmp_path: Path, steps: int, last: int) -> None:
    """7 of 100 steps are a share of 0.07, whose product with 100 is above 7 in binary."""
    path = write(tmp_path, TRL, warmup_steps=steps, max_steps=last)
    assert math.ceil(last * read_settings(path)["warmup_ratio"]) == min(steps, last)
    said = "warmup_steps: 30 (more than all steps" in settings_notes(path)[1]
    assert said == (steps > last)


def test_one_key_of_a_neighbour_does_not_make_a_file_of_ours_a_neighbour_s(tmp_path: Path) -> None:
    path = write(tmp_path, "model_size: 7b\nlora_rank: 64\nbatch_size: 4\n", num_train_epochs=2)
    with pytest.raises(UserError, match="key 'num_train_epochs': no such setting; here it is num_epochs"):
        read_settings(path)


def test_values_that_are_in_use_anyway_are_no_difference(tmp_path: Path) -> None:
    path = write(tmp_path, TRL, adam_beta1=0.9, adam_beta2=0.99, max_length=None, use_rslora=None)
    path.write_text(path.read_text() + "max_length: null\n")
    _, not_followed, ignored = settings_notes(path)
    assert not_followed.endswith(
        "not followed here: max_length: None (rows have a longest length here; give --max-length); "
        "adam_beta2: 0.99 (not known here)"
    )
    assert "adam_beta1" in ignored


TAGS = {"columns": {"kto_tag": "thumb"}}
OTHER_TAG = {"columns": {"kto_tag": "star"}}


@pytest.mark.parametrize(
    ("changes", "entries", "expected", "said"),
    [
        ({"eval_dataset": "b"}, {"a": TAGS, "b": OTHER_TAG}, {"label_column": "thumb"}, ""),
        (
            {"eval_dataset": "b", "eval_strategy": "steps"},
            {"a": TAGS, "b": OTHER_TAG},
            {"label_column": "thumb", "eval_dataset": "data/b.json"},
            "dataset_info.json, b, columns: a mapping (other ones than of a, which hold for all)",
        ),
        ({"dataset": "a,b"}, {"a": TAGS, "b": OTHER_TAG}, {"label_column": "thumb"}, "b, columns: "),
        ({"dataset": "a,b"}, {"a": TAGS, "b": {}}, {"label_column": "thumb"}, "b, columns: "),
        (
            {},
            {"a": {"columns": {"prompt": "q", "query": "x", "response": "r"}}},
            {"prompt_column": "q", "completion_column": "r", "label_column": None},
            "dataset_info.json, a, query: 'x' (expected input; rename the column)",
        ),
        (
            {},
            {"a": {"columns": {"prompt": "instruction", "query": "input", "system": "rules"}}},
            {"prompt_column": None, "completion_column": None},
            "dataset_info.json, a, system: 'rules' (expected system; rename the column)",
        ),
        (
            {},
            {"a": {"formatting": "sharegpt", "columns": {"messages": "talk"}, "tags": {"user_tag": "you"}}},
            {"prompt_column": None},
            "a, messages: 'talk' (expected messages; rename the column); dataset_info.json, a, tags: 'you'",
        ),
        ({}, {"a": {"file_name": None, "ms_hub_url": "o/n"}}, {"dataset": None}, "dataset: 'a' (data/"),
        ({}, {"a": {"file_name": None, "script_url": "s"}}, {"dataset": None}, "gives no file of it"),
        (
            {},
            {"a": {"num_samples": 9, "ranking": True, "folder": "f", "split": "s"}},
            {"dataset": "data/a.json"},
            "a, num_samples: 9 (all rows are taken; =0.5 behind its name in --dataset takes half of them); "
            "dataset_info.json, a, ranking: True (whether rows are pairs is told from their columns); "
            "dataset_info.json, a, folder: 'f' (the data set is taken as a whole); "
            "dataset_info.json, a, split: 's' (the file is taken as a whole)",
        ),
        ({}, {"a": {"hf_hub_url": "o/n", "split": "s"}}, {"dataset": "o/n::s"}, ""),
    ],
)  # fmt: skip
def test_what_the_index_of_data_sets_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    entries: dict[str, dict[str, Any]],
    expected: dict[str, Any],
    said: str,
) -> None:
    """Columns of the sets in use are taken over; whatever else it says is followed or told."""
    monkeypatch.chdir(data_folder(tmp_path, **{
        name: {"file_name": f"{name}.json", **entry} for name, entry in entries.items()
    }))  # fmt: skip
    path = write(
        tmp_path, LLAMA_FACTORY, **{"dataset": "a", "eval_strategy": None, "val_size": None, **changes}
    )
    found = read_settings(path)
    assert {name: found.get(name) for name in expected} == expected
    notes = settings_notes(path)[1]
    assert said in notes
    assert said or "dataset_info" not in notes


def test_our_own_files_are_read_as_before(tmp_path: Path) -> None:
    path = write(tmp_path, "model: m\nbatch-size: 6\nbeta: 0.4\n")
    assert read_settings(path) == {"model": "m", "batch_size": 6, "beta": 0.4}
    assert settings_notes(path) == ()
    with pytest.raises(UserError, match="key 'num_epoch': no such setting"):
        read_settings(write(tmp_path, "model: m\n", num_epoch=1))


def test_what_a_file_leaves_to_its_program_was_not_asked_for(tmp_path: Path) -> None:
    given = given_settings(write(tmp_path, TRL, lora_r=None, lora_alpha=None))
    assert {"lora_target_modules", "beta", "dataset"} <= given
    assert not {"lora_rank", "lora_alpha", "lora_dropout"} & given
    assert {"lora_rank", "lora_alpha"} <= given_settings(write(tmp_path, TRL))


def test_adapters_of_neighbours(tmp_path: Path) -> None:
    experts = ["mlp.experts.gate_up_proj"]
    path = write(tmp_path, TRL, lora_target_modules=["q_proj", "v_proj"], lora_target_parameters=experts)
    assert read_settings(path)["lora_target_modules"] == "q_proj,v_proj,mlp.experts.gate_up_proj"
    data_folder(tmp_path, rated={"file_name": "rated.json", "columns": {"kto_tag": "thumb"}})
    _, not_followed, _ = settings_notes(write(tmp_path, LLAMA_FACTORY, adapter_name_or_path="saves/sft"))
    assert "adapter_name_or_path: 'saves/sft' (give it with --model: it is trained on" in not_followed
