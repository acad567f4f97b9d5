"""The settings of a run, each declared once: type, default, bounds, help and (by its name) its flag."""

import functools
import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from kto_tui.core.errors import UserError


@dataclass(frozen=True)
class Doc:
    """What help says about a setting, and under which heading."""

    group: str
    text: str
    metavar: str | None = None


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
NO_CACHE = "off"

_LARGEST = 2**53  # Whole numbers up to here are exact in JSON and in every float64.
_LONGEST = 4096
_SHOWN = 60
_SURROGATES = re.compile("[\ud800-\udfff]")


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one run. Names are Hugging Face's and TRL's where they have one."""

    model_size: Annotated[str | None, Doc(_MODEL, "preset to start from", "SIZE")] = None
    model: Annotated[
        str | None, Doc(_MODEL, "hub id or local folder of the model (default: the preset's)", "ID|DIR")
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

    dataset: Annotated[
        str | None,
        Doc(_DATA, "rated rows: hub id, or a .json, .jsonl, .csv or .parquet file", "ID|FILE"),
    ] = None
    prompt_column: Annotated[str, Doc(_DATA, "column of the prompt", "NAME")] = "prompt"
    completion_column: Annotated[str, Doc(_DATA, "column of the answer", "NAME")] = "completion"
    label_column: Annotated[str, Doc(_DATA, "column of the rating", "NAME")] = "label"
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
    batch_size: Annotated[Annotated[int, Meta(ge=2)], Doc(_TRAIN, "rows in a micro-batch", "ROWS")] = 4
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

    wandb: Annotated[bool, Doc(_TRACK, "send the metrics to Weights & Biases")] = False
    wandb_project: Annotated[str | None, Doc(_TRACK, "W&B project", "NAME")] = None
    wandb_run_name: Annotated[str | None, Doc(_TRACK, "W&B run name", "NAME")] = None


# Asked of one start, not part of what a run is: run.yaml leaves them out.
START_ONLY = frozenset({"overwrite", "resume_from_checkpoint", "allow_changed_settings"})

# Whether the final weights depend on a setting, which decides what a resumed run may change unasked.
# Each setting stands in one of these sets.
HARMLESS = frozenset(
    {
        *("model_size", "reference_cache", "output_dir", "logging_steps", "save_steps", "save_total_limit"),
        *("keep_requested", "auto_restart", "grace_seconds", "wandb", "wandb_project", "wandb_run_name"),
    }
)
# These only look on, unless an evaluation decides where training ends.
HARMLESS_WITHOUT_EARLY_STOPPING = frozenset({"eval_dataset", "eval_steps"})
DECISIVE = frozenset(
    {
        *("model", "quantization", "dtype", "lora_rank", "lora_alpha", "lora_dropout"),
        *("dataset", "prompt_column", "completion_column", "label_column", "eval_fraction", "max_length"),
        *("loss_type", "beta", "class_weights", "kl_scope"),
        *("max_steps", "num_epochs", "early_stopping_patience", "batch_size", "gradient_accumulation_steps"),
        *("gradient_checkpointing", "learning_rate", "lr_scheduler_type", "warmup_ratio", "optim"),
        *("weight_decay", "max_grad_norm", "seed"),
    }
)


@dataclass(frozen=True)
class Setting:
    """One setting as the command line and the messages see it."""

    name: str
    flag: str
    type: Any
    default: Any
    doc: Doc
    choices: tuple[str, ...] | None

    @property
    def is_switch(self) -> bool:
        return self.type is bool


def _unwrap(hint: Any) -> tuple[Any, Doc]:
    """A field's type without its Doc, and that Doc."""
    doc = next(part for part in hint.__metadata__ if isinstance(part, Doc))
    bounds = tuple(part for part in hint.__metadata__ if not isinstance(part, Doc))
    base = hint.__origin__
    return (Annotated[(base, *bounds)] if bounds else base), doc


@functools.cache
def settings() -> dict[str, Setting]:
    """All settings by name, in the order of their declaration."""
    hints = get_type_hints(RunConfig, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(RunConfig):
        kind, doc = _unwrap(hints[field.name])
        choices = get_args(kind) if get_origin(kind) is Literal else None
        flag = "--" + field.name.replace("_", "-")
        found[field.name] = Setting(field.name, flag, kind, field.default, doc, choices)
    return found


# YAML 1.1 reads these words as true and false wherever they stand without quotes.
_SWITCH_WORDS = {True: ("on", "yes"), False: ("off", "no")}


def _words_of(setting: Setting) -> tuple[str, ...]:
    """The words that a text setting gives a meaning of its own."""
    return setting.choices or ((NO_CACHE,) if setting.name == "reference_cache" else ())


def convert(setting: Setting, value: Any, where: str) -> Any:
    """`value` as the setting's type. `where` names its origin in the error.

    Raises UserError, which says what was found and what is wanted.
    """
    if setting.name == "class_weights" and not isinstance(value, str):
        # YAML 1.1 reads 1:1.5 as a number to the base of 60.
        raise UserError(f'{where}: found a number; write the weights in quotes: "1:1.5"')
    if isinstance(value, bool):
        value = next((word for word in _SWITCH_WORDS[value] if word in _words_of(setting)), value)
    if value == "":
        raise UserError(f"{where}: found nothing; expected {expected(setting)}")
    wants_text = setting.type is str or (not isinstance(value, str) and str in get_args(setting.type))
    try:
        if wants_text and isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        converted = msgspec.convert(value, setting.type, strict=False)
    except (msgspec.ValidationError, ValueError):
        converted = math.nan
    if isinstance(converted, float) and not math.isfinite(converted):
        raise UserError(f"{where}: found {shown(value)}; expected {expected(setting)}")
    if isinstance(converted, int) and converted > _LARGEST:
        raise UserError(f"{where}: found {shown(value)}; expected at most {_LARGEST}")
    if isinstance(converted, str):
        _check_text(converted, where)
    return converted


def _check_text(text: str, where: str) -> None:
    """Refuse what no file system, tracker or file of ours takes. Raises UserError."""
    if len(text) > _LONGEST:
        raise UserError(f"{where}: found {len(text)} characters; expected at most {_LONGEST}")
    if "\0" in text or _SURROGATES.search(text):
        raise UserError(f"{where}: found {shown(text)}; expected text without NUL, in UTF-8")


def shown(value: Any) -> str:
    """A value in an error: on one line, cut at 60 characters, harmless to a terminal."""
    if isinstance(value, (list, tuple, dict)):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of more than 38 digits"
    long = isinstance(value, (str, bytes)) and len(value) > _SHOWN
    text = repr(value[:_SHOWN] if long else value)
    return f"{text[:_SHOWN]}…" if long or len(text) > _SHOWN else text


def expected(setting: Setting) -> str:
    """What the setting takes, in words."""
    if setting.choices:
        return "one of " + ", ".join(setting.choices)
    if setting.name == "reference_cache":
        return "a folder, or off"
    kind = next(kind for kind in _members(setting.type) if kind is not type(None))
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    bounds = [part for part in getattr(kind, "__metadata__", ()) if isinstance(part, Meta)]
    return words[getattr(kind, "__origin__", kind)] + "".join(map(_bounds, bounds))


def _members(kind: Any) -> tuple[Any, ...]:
    if hasattr(kind, "__metadata__"):
        return (kind,)
    return get_args(kind) or (kind,)


def _bounds(meta: Meta) -> str:
    if meta.ge is not None and meta.le is not None:
        return f" from {meta.ge} to {meta.le}"
    if meta.gt is not None and meta.lt is not None:
        return f" above {meta.gt} and below {meta.lt}"
    if meta.gt is not None:
        return f" above {meta.gt}"
    return f" of at least {meta.ge}" if meta.ge is not None else ""


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
    return msgspec.yaml.encode(values).decode()


def evaluates(config: RunConfig) -> bool:
    """Whether the run has rows that are only evaluated on."""
    return config.eval_dataset is not None or config.eval_fraction is not None
