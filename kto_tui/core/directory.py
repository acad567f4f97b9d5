"""The paths of a run on disk. One output directory is one run."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_CHECKPOINT = re.compile(r"^checkpoint-([0-9]{1,15})\Z")
MANIFEST_NAME = "manifest.json"
SETTINGS_NAME = "run.yaml"
MERGED_MARKER = "kto_tui_merged.json"  # In a merged model: of which adapter it is.


def checkpoint_step(path: Path) -> int | None:
    """The step in a checkpoint folder's name, or None if it is no checkpoint folder."""
    match = _CHECKPOINT.match(path.name)
    return int(match.group(1)) if match else None


@dataclass(frozen=True)
class RunDirectory:
    """Where each part of a run lies below `path`."""

    path: Path

    @classmethod
    def at(cls, path: str | Path) -> Self:
        """The run at this path."""
        return cls(Path(path))

    @property
    def settings(self) -> Path:
        return self.path / SETTINGS_NAME

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def commands(self) -> Path:
        return self.path / "commands.jsonl"

    @property
    def lock(self) -> Path:
        return self.path / "run.lock"

    @property
    def worker_lock(self) -> Path:
        """Held by a worker for as long as it may write here: one may outlive its supervisor for a while."""
        return self.path / "worker.lock"

    @property
    def log(self) -> Path:
        return self.path / "run.log"

    @property
    def trackers(self) -> Path:
        """Which runs of trackers this one goes on in."""
        return self.path / "trackers.json"

    @property
    def tracked(self) -> tuple[Path, ...]:
        """The folders that trackers make here, where nobody names them others."""
        return tuple(self.path / name for name in ("wandb", "tensorboard", "mlruns"))

    @property
    def final_model(self) -> Path:
        return self.path / "final_model"

    @property
    def base_model(self) -> Path:
        """The frozen base, where it cannot be found again by its name."""
        return self.path / "base_model"

    @property
    def reference_adapter(self) -> Path:
        """What the adapter was before the first step, where the run goes on training one."""
        return self.path / "reference_adapter"

    @property
    def merged_model(self) -> Path:
        """The whole model that was exported, where nobody named it another place."""
        return self.path / "merged_model"

    @property
    def staging(self) -> Path:
        """Where folders are written before they are put in their place."""
        return self.path / ".staging"

    def checkpoint(self, step: int) -> Path:
        return self.path / f"checkpoint-{step}"

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints (their manifest is there), oldest first."""
        found = [
            (step, child)
            for child in (self.path.iterdir() if self.path.is_dir() else ())
            if (step := checkpoint_step(child)) is not None and (child / MANIFEST_NAME).is_file()
        ]
        return [child for _, child in sorted(found)]

    def holds_run(self) -> bool:
        """Whether a run was started here before."""
        return self.settings.exists() or self.events.exists() or bool(self.checkpoints())
