"""What a run keeps of the model it was given: a copy of an adapter that is trained on, a copy of a base."""

from dataclasses import dataclass
from pathlib import Path

from kto_tui.core.compatibility import same_source
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.models.folder import ADAPTER_WEIGHTS, MARKER, missing_part, read_json


@dataclass(frozen=True)
class Kept:
    """An adapter that a run has kept: the base that it is of, and the commit of the hub that is meant."""

    folder: Path
    base: str
    revision: str | None


def kept_beginning(config: RunConfig) -> Kept | None:
    """Of the run in `config.output_dir`, or the one that is gone on from; None where there is none."""
    found = (kept_in(home.reference_adapter, config.model) for home in _homes(config))
    return next((kept for kept in found if kept is not None), None)


def kept_in(folder: Path, model: str | None) -> Kept | None:
    """The adapter in a folder; None where that holds none, or another one than `model`."""
    marker = read_json(folder / MARKER)
    whole = "base" in marker and (folder / ADAPTER_WEIGHTS).is_file()
    if not whole or not same_source(marker.get("model"), model):
        return None
    revision = marker.get("revision")
    return Kept(folder, str(marker["base"]), str(revision) if revision else None)


def base_is_kept(config: RunConfig, model: str | None) -> bool:
    """Whether one of these runs has a whole copy of the base `model`."""
    folders = (home.base_model for home in _homes(config))
    return any(
        same_source(read_json(folder / MARKER).get("model"), model) and not missing_part(folder)
        for folder in folders
    )


def model_at_hand(config: RunConfig) -> tuple[str, str | None]:
    """(name, revision) of the model to look for: of a run that goes on, the base that it has noted."""
    kept = kept_beginning(config) if config.resume_from_checkpoint else None
    return (kept.base, kept.revision) if kept else (str(config.model), config.model_revision)


def _homes(config: RunConfig) -> list[RunDirectory]:
    resumed = config.resume_from_checkpoint
    names = (config.output_dir, Path(resumed).parent if resumed else None)
    return [RunDirectory.at(name) for name in names if name]
