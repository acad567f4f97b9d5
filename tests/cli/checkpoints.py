"""Checkpoints as far as the command line looks into them: an adapter's settings, and a true manifest."""

import json
from pathlib import Path

from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.manifest import Manifest, describe, write_manifest


def write_checkpoint(
    folder: Path, step: int, model: str = "builtin:tiny", rank: int = 8, settings: RunConfig | None = None
) -> Path:
    """checkpoint-<step> in `folder`; with `settings`, they are part of it, as its run writes them."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    adapter = {"base_model_name_or_path": model, "r": rank, "lora_alpha": 2 * rank}
    (path / "adapter_config.json").write_text(json.dumps(adapter))
    (path / "weights.bin").write_bytes(bytes(1000))
    if settings is not None:
        (path / "run.yaml").write_text(to_yaml(settings))
    write_manifest(path, Manifest(step=step, reason="scheduled", time=0.0, files=describe(path)))
    return path
