"""The model card of what was trained: how to load it, from what it was made, and how the run went."""

import importlib.metadata
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from kto_tui.core.config import RunConfig
from kto_tui.core.datareport import DataReport
from kto_tui.core.errors import UserError, printable
from kto_tui.core.mixture import split_sources
from kto_tui.training.curves import Logs, curves

VERSIONS_OF = ("kto-tui", "trl", "transformers", "peft", "torch", "bitsandbytes")
_SETTINGS = (
    *("loss_type", "beta", "kl_scope", "class_weights", "learning_rate", "lr_scheduler_type", "warmup_ratio"),
    *("weight_decay", "max_grad_norm", "optim", "batch_size", "gradient_accumulation_steps", "max_length"),
    *("num_epochs", "max_steps", "quantization", "dtype", "lora_rank", "lora_alpha", "lora_dropout"),
    *("lora_target_modules", "seed"),
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+\Z")
_BUILT_IN = "builtin:"
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$])")
# What follows tells of the training, whatever the trained model is exported as.
_MARKER = "<!-- Written by kto-tui. -->"


def versions() -> dict[str, str]:
    """Installed versions of what trains, by distribution."""
    found = {}
    for name in VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hub_id(name: str | None) -> str | None:
    """The hub id in a setting such as "owner/name:config:split"; None for what lies on this machine."""
    if not name or os.path.exists(os.path.expanduser(name)):
        return None
    owner_and_name = name.partition(":")[0]
    return owner_and_name if _HUB_ID.match(owner_and_name) else None


def public_name(name: str | None) -> str:
    """A hub id or built-in as it is; a file or folder by its last part: a card may leave this machine."""
    if name is None or name.startswith(_BUILT_IN) or hub_id(name):
        return str(name)
    return Path(name).name or name


def adapter_card(
    config: RunConfig, training: str, *, title: str, base: str, adapter: str, notes: Iterable[str] = ()
) -> str:
    """README.md of an adapter. `base` and `adapter`: what from_pretrained takes, a hub id or a folder.

    `notes`: sentences on the base.
    """
    code = [
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"base = AutoModelForCausalLM.from_pretrained({_quoted(base)}{_pinned(config, base)})",
        f"model = PeftModel.from_pretrained(base, {_quoted(adapter)})",
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(adapter)})",
    ]
    about = "\n\n".join([f"A LoRA adapter for {_code(public_name(config.model))}.", *map(_plain, notes)])
    return _card(_front(config, "peft", "adapter"), title, about, code, training)


def _pinned(config: RunConfig, base: str) -> str:
    """The argument with which the hub gives the base's files as they were."""
    revision = config.model_revision if base == config.model and hub_id(base) else None
    return f", revision={_quoted(revision)}" if revision else ""


def merged_card(config: RunConfig, training: str, *, title: str, folder: str, dtype: str) -> str:
    """README.md of a whole model. `folder`: what from_pretrained takes, a hub id or a folder."""
    code = [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"model = AutoModelForCausalLM.from_pretrained({_quoted(folder)})",
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(folder)})",
    ]
    about = f"{_code(public_name(config.model))} with a LoRA adapter merged into its weights, in {dtype}."
    return _card(_front(config, "transformers", "finetune"), title, about, code, training)


def training_sections(
    config: RunConfig,
    *,
    step: int,
    logs: Logs,
    examples: int | None = None,
    data: DataReport | None = None,
    used: Mapping[str, object] | None = None,
) -> str:
    """What the card says of the training. `logs`: trainer.state.log_history. Unknown counts are left out.

    `used`: what settings came to, where it is known, and what else was used; None is left out.
    """
    if examples is None and data is not None:
        examples = data.desirable + data.undesirable
    rows = f" on {examples} rated rows" if examples is not None else ""
    shown = curves(logs)
    came_to = {name: value for name, value in (used or {}).items() if value is not None}
    settings = {name: getattr(config, name) for name in _SETTINGS} | came_to
    return "\n".join(
        [
            f"Trained with KTO (arXiv 2402.01306) for {step} steps{rows}.",
            "",
            *_data(config, data),
            *(["## Curves", "", *shown] if shown else []),
            *_table("Settings", {_code(name): value for name, value in settings.items()}),
            *_table("Versions", versions()),
        ]
    )


def told_training(card: str) -> str | None:
    """What a card of ours says of the training; None for a card that others wrote."""
    _, marker, training = card.partition(_MARKER)
    return training.strip() if marker else None


def _card(front: str, title: str, about: str, code: list[str], training: str) -> str:
    head = ["---", front.strip(), "---", "", f"# {_plain(title)}", "", about, ""]
    return "\n".join([*head, "```python", *code, "```", "", _MARKER, "", training.strip(), ""])


def _front(config: RunConfig, library: str, relation: str) -> str:
    """The YAML that the hub reads. The licence is left out: it depends on the base and the data."""
    # Not at the top: this module is read before the environment is prepared, which the hub's client reads.
    from huggingface_hub import ModelCardData

    base, sets = hub_id(config.model), [found for name in _sets(config) if (found := hub_id(name))]
    data = ModelCardData(
        base_model=base,
        base_model_relation=relation if base else None,
        datasets=list(dict.fromkeys(sets)) or None,
        library_name=library,
        pipeline_tag="text-generation",
        tags=["kto", "trl", "kto-tui", *(["lora"] if library == "peft" else [])],
    )
    return str(data.to_yaml())


def _sets(config: RunConfig) -> list[str]:
    try:
        return [source.name for source in split_sources(config.dataset or "")] if config.dataset else []
    except UserError:  # Recorded by another version: said as it stands.
        return [str(config.dataset)]


def _data(config: RunConfig, data: DataReport | None) -> list[str]:
    if data is None or not data.sources:
        names = [f"- {_code(public_name(name))}" for name in _sets(config)]
        return ["## Data", "", *names, ""] if names else []
    heads = ["data set", "format", "records", "rated rows", "taken"]
    sources = [
        (_code(public_name(read.name)), read.format, read.records, read.rows, f"{read.weight:g} times")
        for read in data.sources
    ]
    counts: dict[str, object] = {"desirable": data.desirable, "undesirable": data.undesirable}
    if data.weights:
        counts["weight of a row in the loss"] = (
            f"{data.weights[0]:.4g} desirable, {data.weights[1]:.4g} undesirable"
        )
    if data.truncated:
        counts[f"cut to {data.max_length} tokens"] = data.truncated
    counts |= {f"dropped: {reason}": rows for reason, rows in data.dropped.items() if rows}
    for part, tokens in (("a prompt", data.prompt_tokens), ("an answer", data.completion_tokens)):
        if tokens:
            counts[f"tokens of {part}"] = ", ".join(f"{name} {count:g}" for name, count in tokens.items())
    return ["## Data", "", *_rows(heads, sources), *_rows(["", ""], counts.items())]


def _table(title: str, values: Mapping[str, object]) -> list[str]:
    return [f"## {title}", "", *_rows(["", ""], values.items())] if values else []


def _rows(heads: list[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """A Markdown table. Cells that hold a code span are taken as they are."""
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return [*lines, ""]


def _cell(value: object) -> str:
    text = str(value)
    return text if text.startswith("`") else _plain(text)


def _plain(text: str) -> str:
    """Text that Markdown shows as it stands, on one line."""
    return _SPECIAL.sub(r"\\\1", printable(text))


def _code(text: str) -> str:
    """A code span that nothing in the text ends; bars are escaped for tables, which undo that."""
    text = printable(text).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{space}{text}{space}{fence}"


def _quoted(text: str) -> str:
    """A Python string in ASCII and double quotes, where the text has none itself."""
    quoted = ascii(text)
    return f'"{quoted[1:-1]}"' if quoted[0] == "'" and '"' not in quoted else quoted
