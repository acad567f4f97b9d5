"""The model card of final_model: what it is made of, and how to load it."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from kto_tui.core.config import RunConfig
from kto_tui.core.events import Metrics

VERSIONS_OF = ("kto-tui", "trl", "transformers", "peft", "torch", "bitsandbytes")
_SETTINGS = (
    *("loss_type", "beta", "class_weights", "learning_rate", "lr_scheduler_type", "warmup_ratio"),
    *("batch_size", "gradient_accumulation_steps", "max_length", "lora_rank", "lora_alpha", "seed"),
)
_METRICS = ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "kl")


def versions() -> dict[str, str]:
    """Installed versions of what trains, by distribution."""
    found = {}
    for name in VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def model_card(
    config: RunConfig, *, base: str, adapter: Path, step: int, examples: int, metrics: Metrics
) -> str:
    """README.md of an adapter. `base` is what from_pretrained takes: a hub id, or a folder."""
    front = ["library_name: peft", "pipeline_tag: text-generation", "tags: [kto, lora, trl]"]
    if not Path(base).is_dir():
        front.insert(0, f"base_model: {base}")
    settings = {name: getattr(config, name) for name in _SETTINGS}
    final = {name: f"{metrics[name]:.4f}" for name in _METRICS if metrics.get(name) is not None}
    return "\n".join(
        [
            "---",
            *front,
            "---",
            "",
            f"# {adapter.resolve().parent.name}",
            "",
            f"A LoRA adapter for `{config.model}`, trained with KTO (arXiv 2402.01306) for {step} steps on "
            f"{examples} rated rows of `{config.dataset}`.",
            "",
            "```python",
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f'base = AutoModelForCausalLM.from_pretrained("{base}")',
            f'model = PeftModel.from_pretrained(base, "{adapter}")',
            f'tokenizer = AutoTokenizer.from_pretrained("{adapter}")',
            "```",
            "",
            *_table("Metrics at the end", final),
            *_table("Settings", settings),
            *_table("Versions", versions()),
        ]
    )


def _table(title: str, values: Mapping[str, object]) -> list[str]:
    if not values:
        return []
    return [f"## {title}", "", "| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in values.items()), ""]
