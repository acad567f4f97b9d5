"""What a checkpoint has kept of the run's log."""

import json
from pathlib import Path
from typing import Any


def log_history(checkpoint: Path) -> list[dict[str, Any]]:
    """trainer.state.log_history as the checkpoint has it; empty where there is none that can be read."""
    try:
        logs = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [entry for entry in logs if isinstance(entry, dict)] if isinstance(logs, list) else []
