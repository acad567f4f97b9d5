"""A run in TRL's words: the options of `trl kto`, 1.16, and what TRL does otherwise."""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kto_tui.core.config import (
    ALL_LINEAR,
    SAMPLE_DATASET,
    TINY_MODEL,
    RunConfig,
    class_weights,
    evaluates,
    settings,
    trackers,
)
from kto_tui.core.directory import RunDirectory
from kto_tui.core.mixture import Weighted, split_sources
from kto_tui.core.setting import AUTO_BATCH

Option = tuple[str, tuple[str, ...]]
_ROWS = "trl_data"
_FILES = (
    ".json",
    ".jsonl",
    ".ndjson",
    ".csv",
    ".tsv",
    ".parquet",
    ".arrow",
    ".zip",
    ".gz",
    ".bz2",
    ".xz",
    ".zst",
)
_READING = ("prompt_column", "completion_column", "label_column", "desirable_at_least")


@dataclass(frozen=True)
class TrlRun:
    """The options of `trl kto`, each with its values (none for a switch), and remarks of a line each."""

    options: tuple[Option, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Known:
    """What a run that was started has chosen where its settings say auto; None where that is not known.

    `base` is the folder of its own copy of the base; `below`: the base of the adapter that it goes on with,
    and `revision` its commit; `weights` are (desirable, undesirable).
    """

    base: str | None = None
    below: str | None = None
    revision: str | None = None
    weights: tuple[float, float] | None = None
    quantization: str | None = None
    dtype: str | None = None
    device: str | None = None


NOTHING = Known()


def to_trl(config: RunConfig, known: Known = NOTHING) -> TrlRun:
    """The same run for TRL, with every setting written out in which the two may differ."""
    remarks: list[str] = []
    options = [
        *_model(config, known, remarks),
        *_data(config, remarks),
        *_objective(config, known.weights, remarks),
        *_training(config, known, remarks),
        *_saving(config, remarks),
    ]
    return TrlRun(tuple(options), (*remarks, *_otherwise(config)))


def _model(config: RunConfig, known: Known, remarks: list[str]) -> Iterator[Option]:
    model = known.base or known.below or str(config.model)
    if known.below:
        remarks.append(
            f"--model {config.model} is an adapter that is trained on; TRL's command begins a new one"
            " on its base"
        )
    if model == TINY_MODEL:
        remarks.append(f"{TINY_MODEL} is built by kto-tui: after a run it lies in its folder base_model")
    yield _option("model_name_or_path", model)
    revision = known.revision if model == known.below else config.model_revision
    if revision and model in (known.below, config.model):
        yield _option("model_revision", revision)
    dtype = config.dtype if config.dtype != "auto" else known.dtype or "bfloat16"
    if config.dtype == "auto" and known.dtype is None:
        remarks.append("dtype auto is written as bfloat16, for a GPU that has it; kto-tui looks at the GPU")
    yield _option("dtype", dtype)
    yield _option("bf16", dtype == "bfloat16")
    if dtype == "float16":
        yield _option("fp16", True)
    yield from _quantization(config, known, remarks)
    yield "use_peft", ()
    yield _option("lora_r", config.lora_rank)
    yield _option("lora_alpha", config.lora_alpha)
    yield _option("lora_dropout", config.lora_dropout)
    names = [part.strip() for part in config.lora_target_modules.split(",") if part.strip()]
    experts = [name for name in names if "experts." in name]
    if modules := [name for name in names if name not in experts]:
        yield "lora_target_modules", _targets(modules)
    if experts:
        yield "lora_target_parameters", tuple(experts)
    if config.lora_dropout:
        yield _option("disable_dropout", False)
    if config.chat_template:
        remarks.append("--chat-template: TRL takes the tokenizer's own; save the tokenizer with this one")


def _targets(names: Sequence[str]) -> tuple[str, ...]:
    """The names, or a pattern for one alone: TRL has PEFT match the whole path of a layer with that."""
    return (rf".*\.{re.escape(names[0])}",) if len(names) == 1 and names[0] != ALL_LINEAR else tuple(names)


def _quantization(config: RunConfig, known: Known, remarks: list[str]) -> Iterator[Option]:
    stored = config.quantization if config.quantization != "auto" else known.quantization
    if stored is None:
        remarks.append("quantization auto is nf4 for large models on a GPU: then add --load_in_4bit")
    elif stored == "nf4":
        yield from (("load_in_4bit", ()), ("use_bnb_nested_quant", ()))
    elif stored == "int8":
        yield "load_in_8bit", ()


def _data(config: RunConfig, remarks: list[str]) -> Iterator[Option]:
    """A data set of the hub by its name. Of rows in files TRL reads a folder, in columns that it knows."""
    trained = _on_hub(config, config.dataset or SAMPLE_DATASET)
    if trained:
        name, subset, split = trained
        yield _option("dataset_name", name)
        if subset:
            yield _option("dataset_config", subset)
        yield _option("dataset_train_split", split)
    else:
        commands = [f"mkdir -p {_ROWS}", _preparation(config, config.dataset or SAMPLE_DATASET, "train")]
        if config.eval_dataset is not None:
            commands.append(_preparation(config, config.eval_dataset, "test"))
        remarks.append(
            "TRL reads prompt, completion and label of a folder; kto-tui writes them there with: "
            + " && ".join(commands)
        )
        if any(source.weight != 1 for source in split_sources(config.dataset or SAMPLE_DATASET)):
            remarks.append("each row is there once, whatever the weights of the data sets")
        yield _option("dataset_name", _ROWS)
    yield _option("max_length", config.max_length)
    yield from _evaluation(config, trained, remarks)


def _evaluation(
    config: RunConfig, trained: tuple[str, str, str] | None, remarks: list[str]
) -> Iterator[Option]:
    """For TRL a split of the data set that is trained on."""
    apart = _on_hub(config, config.eval_dataset) if config.eval_dataset is not None else None
    if apart and trained and apart[:2] == trained[:2]:
        yield _option("dataset_test_split", apart[2])
    elif config.eval_dataset is None or trained:
        if evaluates(config):
            rows = config.eval_dataset or f"{config.eval_fraction:g} of the rows"
            remarks.append(
                f"evaluated on {rows}: TRL takes a split of the same data set; "
                "once there is one, add --dataset_test_split NAME --eval_strategy steps"
            )
        return
    yield _option("eval_strategy", "steps")
    yield _option("eval_steps", config.eval_steps or config.save_steps)


def _preparation(config: RunConfig, source: str, split: str) -> str:
    """The command, for a shell, that writes rows as TRL reads them."""
    words = ["kto-tui", "check-data", source]
    for name in _READING:
        setting, value = settings()[name], getattr(config, name)
        if value != setting.default:
            words += [setting.flag, f"{value:g}" if isinstance(value, float) else value]
    return shlex.join([*words, "--fix", f"{_ROWS}/{split}.jsonl"])


def _on_hub(config: RunConfig, text: str) -> tuple[str, str, str] | None:
    """(name, config, split) of the one data set of the hub that TRL can take as it is; None for any other."""
    plain = all(getattr(config, name) == settings()[name].default for name in _READING)
    (source, *others) = split_sources(text)
    name, _, rest = source.name.partition(":")
    local = name.startswith((".", "/", "~")) or os.path.exists(source.name) or name.lower().endswith(_FILES)
    if others or not plain or local or name.count("/") != 1 or source != Weighted(source.name):
        return None
    subset, _, split = rest.partition(":")
    return name, subset, split or "train"


def _objective(
    config: RunConfig, weights: tuple[float, float] | None, remarks: list[str]
) -> Iterator[Option]:
    yield _option("loss_type", config.loss_type)
    yield _option("beta", config.beta)
    chosen = class_weights(config.class_weights) or weights
    if chosen is None:
        remarks.append("class weights auto are known once the run has read its data; here 1 and 1")
    desirable, undesirable = chosen or (1.0, 1.0)
    yield _option("desirable_weight", desirable)
    yield _option("undesirable_weight", undesirable)


def _training(config: RunConfig, known: Known, remarks: list[str]) -> Iterator[Option]:
    if config.max_steps is not None:
        yield _option("max_steps", config.max_steps)
    yield _option("num_train_epochs", config.num_epochs)
    if config.batch_size == AUTO_BATCH:
        remarks.append("batch size auto is settled by kto-tui for the GPU; TRL's default stands")
    else:
        yield _option("per_device_train_batch_size", config.batch_size)
        yield _option("per_device_eval_batch_size", config.batch_size)
    yield _option("gradient_accumulation_steps", config.gradient_accumulation_steps)
    yield _option("gradient_checkpointing", config.gradient_checkpointing != "off")
    yield _option("learning_rate", config.learning_rate)
    yield _option("lr_scheduler_type", config.lr_scheduler_type)
    yield _option("warmup_steps", _warmup(config, remarks))
    plain = config.optim == "adamw_torch" or (config.optim == "auto" and known.device == "cpu")
    if config.optim == "auto" and known.device is None:
        remarks.append("optim auto is written as adamw_8bit, for a GPU; adamw_torch_fused on a CPU")
    yield _option("optim", "adamw_torch_fused" if plain else "adamw_8bit")
    yield _option("weight_decay", config.weight_decay)
    yield _option("max_grad_norm", config.max_grad_norm)
    yield _option("seed", config.seed)


def _warmup(config: RunConfig, remarks: list[str]) -> float:
    """For TRL below 1 a share of all steps, from 1 a number of them."""
    if config.lr_scheduler_type == "constant":
        return 0
    if config.warmup_ratio == 1:
        remarks.append("warmup over all steps is written as 0.9999: for TRL, 1 is one step")
    return min(config.warmup_ratio, 0.9999)


def _saving(config: RunConfig, remarks: list[str]) -> Iterator[Option]:
    folder = config.output_dir or "./kto_output"
    if RunDirectory.at(os.path.expanduser(folder)).holds_run():
        folder = f"{Path(folder)}_trl"
        remarks.append("output_dir is another one than the run's: TRL deletes checkpoints beyond its limit")
    yield _option("output_dir", folder)
    yield _option("logging_steps", config.logging_steps)
    yield _option("save_steps", config.save_steps)
    yield _option("save_total_limit", config.save_total_limit)
    if config.early_stopping_patience is not None:
        remarks.append("--early-stopping-patience: trl kto has no such option")
    first, *others = trackers(config) or ("none",)
    yield _option("report_to", first)
    if others:
        remarks.append(f"trl kto takes one tracker on its command line: without {', '.join(others)}")
    if config.wandb_project:
        yield _option("project", config.wandb_project)
    if config.wandb_run_name:
        yield _option("run_name", config.wandb_run_name)


def _otherwise(config: RunConfig) -> Iterator[str]:
    """What TRL does in another way whatever the options are."""
    if config.kl_scope == "step" and config.gradient_accumulation_steps > 1 and config.loss_type == "kto":
        yield "z is estimated from each micro-batch; kto-tui pools it over the step (--kl-scope micro_batch)"
    yield "micro-batches keep the data's order in every epoch; kto-tui groups rows by length, and shuffles"
    yield "the reference is computed in each step, or up front with --precompute_ref_log_probs; none is kept"


def _option(name: str, value: object) -> Option:
    return name, (str(value),)
