"""What a checkpoint has kept of the run's log, and of what its settings came to."""

import json
from pathlib import Path
from typing import Any

from kto_tui.models.folder import read_json


def log_history(checkpoint: Path) -> list[dict[str, Any]]:
    """trainer.state.log_history as the checkpoint has it; empty where there is none that can be read."""
    try:
        logs = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [entry for entry in logs if isinstance(entry, dict)] if isinstance(logs, list) else []


def resolved_settings(checkpoint: Path) -> dict[str, Any]:
    """What the settings that are `auto` came to, as far as a card names them; empty where nobody tells."""
    found = read_json(checkpoint / "accumulators.json").get("resolved")
    names = ("quantization", "dtype", "optim")
    return {name: found[name] for name in names if name in found} if isinstance(found, dict) else {}
