"""Whether a checkpoint can be gone on from with these settings. Reads its small JSON files only."""

import json
import os
import re
from pathlib import Path
from typing import Any

from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.core.resolve import read_settings
from kto_tui.core.setting import shown

ADAPTER_CONFIG = "adapter_config.json"
KEPT = "kto_tui_source.json"  # In a model's or an adapter's copy that a run keeps: which model it is.


def check_adapter(checkpoint: Path, config: RunConfig) -> None:
    """Raise UserError unless the checkpoint's adapter is one of `config`'s model, LoRA rank and alpha."""
    adapter = _read(checkpoint / ADAPTER_CONFIG)
    model = adapter.get("base_model_name_or_path")
    named_then = _model_of_run(checkpoint)
    if named_then is not None:
        model = named_then  # The adapter names the base below the one that the run began with.
    if not same_source(model, config.model):
        named = str(model)[:200]
        raise UserError(
            f"--resume-from-checkpoint {checkpoint}: it adapts {named}, not {config.model}; "
            f"resume with --model {named}, or start anew in another --output-dir"
        )
    for key in ("r", "lora_alpha"):
        if type(adapter.get(key, 1)) is not int:
            raise UserError(
                f"--resume-from-checkpoint {checkpoint}: {ADAPTER_CONFIG}: found "
                f"{shown(adapter[key])} at {key}; expected a whole number; resume from another checkpoint"
            )
    _require_same(checkpoint, "rank", adapter.get("r"), config.lora_rank)
    # The weights would load with any alpha, and count for more or less than they were trained to.
    _require_same(checkpoint, "alpha", adapter.get("lora_alpha", config.lora_alpha), config.lora_alpha)


def _model_of_run(checkpoint: Path) -> str | None:
    """The --model that the checkpoint's own settings name, where its run began with an adapter; else None."""
    try:
        base = str(json.loads((checkpoint / "accumulators.json").read_text(encoding="utf-8"))["base"])
        model = read_settings(RunDirectory(checkpoint).settings).get("model")
    except (UserError, OSError, ValueError, LookupError, TypeError, RecursionError):
        return None  # Said by whoever reads these for what is in them.
    begun = re.search(r" [0-9a-f]{64}\Z", base)
    return str(model) if model and begun else None


def _require_same(checkpoint: Path, name: str, saved: object, wanted: int) -> None:
    if saved != wanted:
        raise UserError(
            f"--resume-from-checkpoint {checkpoint}: its LoRA {name} is {saved}, not {wanted}; "
            f"resume with --lora-{name} {saved}, or start anew in another --output-dir"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        adapter = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(
            f"--resume-from-checkpoint {path.parent}: found no readable {path.name}; "
            "expected a checkpoint-N folder of an earlier run"
        ) from None
    except (ValueError, RecursionError):
        adapter = None
    if not isinstance(adapter, dict):
        raise UserError(
            f"--resume-from-checkpoint {path.parent}: {path.name} is damaged; resume from another checkpoint"
        )
    return adapter


def same_source(saved: object, wanted: object) -> bool:
    """Whether two settings name the same: one hub id, or one file or folder in two spellings."""
    if saved == wanted:
        return True
    if not isinstance(saved, str) or not isinstance(wanted, str):
        return False
    paths = [os.path.abspath(os.path.expanduser(name)) for name in (saved, wanted)]
    if all(map(os.path.exists, paths)):
        return os.path.samefile(*paths)
    return paths[0] == paths[1]
