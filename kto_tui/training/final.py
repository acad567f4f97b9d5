"""final_model: the adapter, its tokenizer and its card, written beside its place and moved there whole."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from kto_tui.core.compatibility import ADAPTER_CONFIG
from kto_tui.core.config import RunConfig
from kto_tui.core.datareport import DataReport
from kto_tui.core.directory import RunDirectory
from kto_tui.core.manifest import (
    REPLACED,
    Damaged,
    Manifest,
    describe,
    put_back_replaced,
    read_manifest,
    sync_folder,
    write_manifest,
)
from kto_tui.training.after.base import name_base, other_base
from kto_tui.training.after.logged import log_history
from kto_tui.training.card import adapter_card, public_name, training_sections
from kto_tui.training.curves import Logs
from kto_tui.training.model import Base
from kto_tui.training.sitting import Sitting
from kto_tui.training.sources import Source
from kto_tui.training.space import writing
from kto_tui.training.trainer import SteeredTrainer

_EDITED = ("README.md", ADAPTER_CONFIG)  # By people: for the hub, or where the base was moved.


def write_final_model(
    sitting: Sitting,
    trainer: SteeredTrainer,
    base: Base,
    examples: int,
    step: int,
    data: DataReport | None = None,
) -> Path:
    """Write the folder, for the adapter as it was after `step`, and return it.

    `data`: what the card tells of the rows beside the number of them that were trained on.
    Raises OSError where the disk fails: what is there of an older one then stays.

    A base that nobody can find by its name is named by its folder, so that loading the adapter finds it.
    """
    trainer.require_finite()
    with writing("final_model", sitting.directory.path):
        training = training_sections(
            sitting.config,
            step=step,
            logs=_logs(sitting, trainer, step),
            examples=examples,
            data=data,
            used={
                "quantization": base.quantization,
                "dtype": base.dtype,
                "optim": sitting.resolved.get("optim", sitting.config.optim),
                "revision of the base": base.source.revision,
                "began with": base.adapter and f"the adapter {public_name(sitting.config.model)}",
            },
        )
        return _write(sitting, trainer, base, training, step)


def _logs(sitting: Sitting, trainer: SteeredTrainer, step: int) -> Logs:
    """What the run has logged up to the step, over all its sittings."""
    logs: Logs = trainer.state.log_history
    if not logs and sitting.resumed is not None:
        logs = log_history(sitting.resumed)  # There was nothing left to train.
    return [entry for entry in logs if entry.get("step", 0) <= step]


def _write(sitting: Sitting, trainer: SteeredTrainer, trained: Base, training: str, step: int) -> Path:
    final, source = sitting.directory.final_model, trained.source
    config = msgspec.structs.replace(sitting.config, model=trained.name, model_revision=source.revision)
    staged = sitting.store.staging / final.name
    shutil.rmtree(staged.parent, ignore_errors=True)
    trainer.save_model(str(staged))
    base = str(source.folder.resolve()) if source.own_copy else trained.name
    name_base(staged, base)
    adapter = final.resolve()
    card = adapter_card(
        config,
        training,
        title=adapter.parent.name,
        base=base,
        adapter=str(adapter),
        notes=_notes(config, sitting.directory, source),
    )
    (staged / "README.md").write_text(card, encoding="utf-8")
    _sign(staged, step, sitting.directory)
    if final.is_dir():
        final.rename(staged.parent / f"{REPLACED}{final.name}")
    try:
        staged.rename(final)
    except OSError:
        put_back_replaced(sitting.directory)
        raise
    sync_folder(final.parent)
    shutil.rmtree(staged.parent, ignore_errors=True)
    return final


def _notes(config: RunConfig, directory: RunDirectory, source: Source) -> list[str]:
    """What the card says of a base that nobody but this run has."""
    if not source.own_copy:
        return []
    moved = (
        "The base is a folder of its run. Where that was moved, name its new place in adapter_config.json "
        "(base_model_name_or_path)."
    )
    return [*other_base(config, directory.base_model), moved]


def _sign(folder: Path, step: int, directory: RunDirectory) -> None:
    """Have the files reach the disk, and say what they are. Raises OSError.

    The time is later than that of every checkpoint: which of them is newer is told by it.
    """
    files = {name: entry for name, entry in describe(folder).items() if name not in _EDITED}
    now = max([time.time(), *(saved + 1e-3 for saved in _times(directory))])
    write_manifest(folder, Manifest(step=step, reason="final", time=now, files=files))


def _times(directory: RunDirectory) -> Iterator[float]:
    for checkpoint in directory.checkpoints():
        with contextlib.suppress(Damaged):
            yield read_manifest(checkpoint).time
