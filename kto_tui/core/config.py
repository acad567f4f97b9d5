"""The settings of a run, each declared once: type, default, bounds, help and (by its name) its flag."""

import functools
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from kto_tui.core.errors import UserError
from kto_tui.core.setting import AUTO, AUTO_BATCH, Doc, Setting, shown, unwrap

GROUPS = ("Model", "Data", "KTO", "Training", "Checkpoints and logging", "Faults", "Trackers")
_MODEL, _DATA, _KTO, _TRAIN, _SAVE, _LIFE, _TRACK = GROUPS

Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
LossType = Literal["kto", "apo_zero_unpaired"]
KlScope = Literal["step", "micro_batch"]
Part = Annotated[float, Meta(gt=0, lt=1)]

SAMPLE_DATASET = "builtin:sample"
TINY_MODEL = "builtin:tiny"
ALL_LINEAR = "all-linear"


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one run. Names are Hugging Face's and TRL's where they have one."""

    model_size: Annotated[str | None, Doc(_MODEL, "preset to start from", "SIZE")] = None
    model: Annotated[
        str | None, Doc(_MODEL, "hub id or local folder of the model (default: the preset's)", "ID|DIR")
    ] = None
    model_revision: Annotated[
        str | None,
        Doc(_MODEL, "commit, branch or tag of a model on the hub (default: its newest)", "REV"),
    ] = None
    quantization: Annotated[
        Literal["auto", "nf4", "int8", "none"],
        Doc(_MODEL, "how the frozen base weights are stored; auto: nf4 on CUDA where the preset says so"),
    ] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Doc(_MODEL, "dtype of the computation; auto: bfloat16 where the hardware has it"),
    ] = "auto"
    lora_rank: Annotated[Count, Doc(_MODEL, "rank of the LoRA adapters", "R")] = 16
    lora_alpha: Annotated[Count, Doc(_MODEL, "LoRA scaling is alpha / rank", "A")] = 32
    lora_dropout: Annotated[Fraction, Doc(_MODEL, "dropout inside the adapters")] = 0.0
    lora_target_modules: Annotated[
        str,
        Doc(
            _MODEL,
            "layers that get adapters, by the end of their names, separated by commas;"
            " all-linear: every linear layer but the head",
            "NAMES",
        ),
    ] = ALL_LINEAR

    dataset: Annotated[
        str | None,
        Doc(
            _DATA,
            "rated rows: a file, a folder, or a hub id with :CONFIG:SPLIT where needed; several may be given,"
            " each with =W where its rows are to be taken W times",
            "ID|FILE[=W]",
        ),
    ] = None
    prompt_column: Annotated[str, Doc(_DATA, "column of the prompt", "NAME")] = "prompt"
    completion_column: Annotated[str, Doc(_DATA, "column of the answer", "NAME")] = "completion"
    label_column: Annotated[str, Doc(_DATA, "column of the rating", "NAME")] = "label"
    desirable_at_least: Annotated[
        float | None,
        Doc(
            _DATA,
            "ratings are numbers, and desirable from this one on (4 for 1 to 5 stars; needed for any scale"
            " but 0 and 1)",
            "RATING",
        ),
    ] = None
    chat_template: Annotated[
        str | None,
        Doc(
            _DATA,
            "Jinja file, or the name of a known template (chatml), for a model whose tokenizer has none",
            "FILE|NAME",
        ),
    ] = None
    eval_dataset: Annotated[str | None, Doc(_DATA, "rated rows that are only evaluated on", "ID|FILE")] = None
    eval_fraction: Annotated[
        Part | None,
        Doc(_DATA, "part of the rows held out to be evaluated on, between 0 and 1", "F"),
    ] = None
    max_length: Annotated[
        Annotated[int, Meta(ge=8)], Doc(_DATA, "longest row in tokens, prompt and answer", "TOKENS")
    ] = 1024

    loss_type: Annotated[LossType, Doc(_KTO, "loss of the rows, as TRL names it")] = "kto"
    beta: Annotated[Positive, Doc(_KTO, "how strongly the policy is held to the reference")] = 0.1
    class_weights: Annotated[
        str,
        Doc(_KTO, "weights of desirable and undesirable rows; auto balances them", "auto|W_D:W_U"),
    ] = "auto"

    kl_scope: Annotated[
        KlScope,
        Doc(
            _KTO,
            "what the reference point z is estimated over: an optimizer step, or, as in TRL, a micro-batch",
        ),
    ] = "step"
    reference_cache: Annotated[
        str | None,
        Doc(
            _KTO,
            "where reference log-probabilities and tokenized rows are kept for later epochs and runs;"
            " off: computed each time (default: ~/.cache/kto-tui)",
            "DIR|off",
        ),
    ] = None

    max_steps: Annotated[
        Count | None, Doc(_TRAIN, "stop after this many optimizer steps (wins over --num-epochs)", "N")
    ] = None
    num_epochs: Annotated[Positive, Doc(_TRAIN, "passes over the data", "N")] = 1.0
    early_stopping_patience: Annotated[
        Count | None,
        Doc(
            _TRAIN,
            "end after so many evaluations in a row without a lower loss, and keep the best"
            " (needs --eval-dataset or --eval-fraction)",
            "N",
        ),
    ] = None
    batch_size: Annotated[
        Annotated[int, Meta(ge=2)],
        Doc(_TRAIN, "rows in a micro-batch; auto: as many as the memory plan says fit", "ROWS|auto"),
    ] = 4
    gradient_accumulation_steps: Annotated[Count, Doc(_TRAIN, "micro-batches in one optimizer step", "N")] = 1
    gradient_checkpointing: Annotated[
        Literal["auto", "on", "off"],
        Doc(
            _TRAIN,
            "recompute activations to save memory; auto: on where they would not fit otherwise",
        ),
    ] = "auto"
    learning_rate: Annotated[Positive, Doc(_TRAIN, "peak learning rate", "LR")] = 5e-7
    lr_scheduler_type: Annotated[
        Literal["cosine", "linear", "constant", "constant_with_warmup"],
        Doc(_TRAIN, "shape of the learning rate"),
    ] = "cosine"
    warmup_ratio: Annotated[Fraction, Doc(_TRAIN, "share of the steps that warm up")] = 0.1
    optim: Annotated[
        Literal["auto", "adamw_torch", "adamw_8bit"],
        Doc(_TRAIN, "optimizer; auto: adamw_8bit on CUDA, else adamw_torch"),
    ] = "auto"
    weight_decay: Annotated[Annotated[float, Meta(ge=0)], Doc(_TRAIN, "AdamW's weight decay")] = 0.0
    max_grad_norm: Annotated[Positive, Doc(_TRAIN, "gradients are clipped to this norm")] = 1.0
    seed: Annotated[Annotated[int, Meta(ge=0, le=2**32 - 1)], Doc(_TRAIN, "seed of everything random")] = 42

    output_dir: Annotated[str | None, Doc(_SAVE, "folder of the run (default: the preset's)", "DIR")] = None
    overwrite: Annotated[bool, Doc(_SAVE, "delete the ended run that --output-dir holds, and start anew")] = (
        False
    )
    resume_from_checkpoint: Annotated[
        str | None, Doc(_SAVE, "go on from this checkpoint, or the newest of --output-dir", "PATH|latest")
    ] = None
    allow_changed_settings: Annotated[
        bool, Doc(_SAVE, "go on also where settings differ that change the result")
    ] = False
    logging_steps: Annotated[Count, Doc(_SAVE, "steps between two rows of the table", "N")] = 5
    save_steps: Annotated[Count, Doc(_SAVE, "steps between two checkpoints", "N")] = 50
    save_total_limit: Annotated[Count, Doc(_SAVE, "checkpoints kept", "N")] = 3
    keep_requested: Annotated[
        Literal["yes", "no"],
        Doc(_SAVE, "whether checkpoints that were asked for by key are kept beyond that number"),
    ] = "yes"
    eval_steps: Annotated[
        Count | None,
        Doc(
            _SAVE,
            "steps between two evaluations (default: --save-steps; needs --eval-dataset or --eval-fraction)",
            "N",
        ),
    ] = None

    auto_restart: Annotated[
        Annotated[int, Meta(ge=0)],
        Doc(_LIFE, "times that a worker which died is started again from the newest checkpoint", "N"),
    ] = 0
    grace_seconds: Annotated[
        Positive | None,
        Doc(
            _LIFE,
            "SIGTERM: save and be gone within so many seconds, also in the middle of a step"
            " (default: take as long as it needs)",
            "SECONDS",
        ),
    ] = None

    report_to: Annotated[
        str | None,
        Doc(
            _TRACK,
            "trackers that get the metrics, separated by commas: wandb, tensorboard, mlflow, trackio",
            "NAMES",
        ),
    ] = None
    wandb: Annotated[
        bool, Doc(_TRACK, "send the metrics to Weights & Biases: short for --report-to wandb")
    ] = False
    wandb_project: Annotated[
        str | None, Doc(_TRACK, "project or experiment at the trackers (default: kto-tui)", "NAME")
    ] = None
    wandb_run_name: Annotated[str | None, Doc(_TRACK, "name of the run at the trackers", "NAME")] = None


# Asked of one start, not part of what a run is: run.yaml leaves them out.
START_ONLY = frozenset({"overwrite", "resume_from_checkpoint", "allow_changed_settings"})

# Whether the final weights depend on a setting, which decides what a resumed run may change unasked.
# Each setting stands in one of these sets.
HARMLESS = frozenset(
    {
        *("model_size", "reference_cache", "output_dir", "logging_steps", "save_steps", "save_total_limit"),
        *("keep_requested", "auto_restart", "grace_seconds", "report_to", "wandb", "wandb_project"),
        "wandb_run_name",
    }
)
# These only look on, unless an evaluation decides where training ends.
HARMLESS_WITHOUT_EARLY_STOPPING = frozenset({"eval_dataset", "eval_steps"})
DECISIVE = frozenset(
    {
        *("model", "model_revision", "quantization", "dtype", "lora_rank", "lora_alpha", "lora_dropout"),
        "lora_target_modules",
        *("dataset", "prompt_column", "completion_column", "label_column", "desirable_at_least"),
        *("chat_template", "eval_fraction", "max_length"),
        *("loss_type", "beta", "class_weights", "kl_scope"),
        *("max_steps", "num_epochs", "early_stopping_patience", "batch_size", "gradient_accumulation_steps"),
        *("gradient_checkpointing", "learning_rate", "lr_scheduler_type", "warmup_ratio", "optim"),
        *("weight_decay", "max_grad_norm", "seed"),
    }
)


@functools.cache
def settings() -> dict[str, Setting]:
    """All settings by name, in the order of their declaration."""
    hints = get_type_hints(RunConfig, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(RunConfig):
        kind, doc = unwrap(hints[field.name])
        choices = get_args(kind) if get_origin(kind) is Literal else None
        flag = "--" + field.name.replace("_", "-")
        found[field.name] = Setting(field.name, flag, kind, field.default, doc, choices)
    return found


def class_weights(text: str) -> tuple[float, float] | None:
    """(w_desirable, w_undesirable) from "W_D:W_U", or None for "auto". Raises UserError."""
    if text == "auto":
        return None
    try:
        desirable, undesirable = (float(part) for part in text.split(":"))
    except ValueError:
        desirable = undesirable = float("nan")
    if not (
        0 <= desirable < float("inf") and 0 <= undesirable < float("inf") and desirable + undesirable > 0
    ):
        raise UserError(f"--class-weights: found {shown(text)}; expected auto, or two weights such as 1:1.5")
    return desirable, undesirable


def to_yaml(config: RunConfig) -> str:
    """The settings as run.yaml holds them; feeding it to --config repeats the run."""
    values = {k: v for k, v in msgspec.structs.asdict(config).items() if k not in START_ONLY}
    if config.batch_size == AUTO_BATCH:
        values["batch_size"] = AUTO
    return msgspec.yaml.encode(values).decode()


def evaluates(config: RunConfig) -> bool:
    """Whether the run has rows that are only evaluated on."""
    return config.eval_dataset is not None or config.eval_fraction is not None


def trackers(config: RunConfig) -> tuple[str, ...]:
    """The trackers that get the metrics, each once, in the order in which they were named."""
    named = [*(config.report_to or "").split(","), *(["wandb"] if config.wandb else [])]
    return tuple(dict.fromkeys(name.strip() for name in named if name.strip() not in ("", "none")))
