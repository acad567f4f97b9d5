"""TRL's arguments for a short training on a CPU that saves nothing."""

from pathlib import Path
from typing import Any

from trl import KTOConfig


def short(folder: Path, **changes: Any) -> KTOConfig:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }
    return KTOConfig(**{**settings, **changes})
