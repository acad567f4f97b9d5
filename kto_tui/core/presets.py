"""The presets of --model-size: YAML files in configs/ of a checkout, or inside the installed package."""

from pathlib import Path
from typing import Any

import msgspec

from kto_tui.core.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]


def presets_folder() -> Path:
    """Where the preset files lie: beside the package in a checkout, inside it once installed."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def preset_names() -> list[str]:
    """The sizes there are, smallest first."""
    return sorted((path.stem for path in presets_folder().glob("*.yaml")), key=_billions)


def load_preset(name: str) -> dict[str, Any]:
    """The settings of a preset, found by its name or one of its aliases. Raises UserError."""
    for size in preset_names():
        values = msgspec.yaml.decode((presets_folder() / f"{size}.yaml").read_bytes(), type=dict[str, Any])
        if name.lower() in (size, *values.pop("aliases", ())):
            return values
    raise UserError(f"--model-size {name[:60]}: no such preset; choose one of {', '.join(preset_names())}")


def _billions(name: str) -> float:
    """A size as a number to sort by: 135m is 0.135, 7b is 7; tiny comes first."""
    try:
        return float(name[:-1]) * {"m": 0.001, "b": 1.0}[name[-1]]
    except (ValueError, KeyError):
        return 0.0
