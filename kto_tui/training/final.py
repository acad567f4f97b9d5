"""final_model: the adapter, its tokenizer and its card, written beside its place and moved there whole."""

import json
import shutil
from pathlib import Path

from kto_tui.core.compatibility import ADAPTER_CONFIG
from kto_tui.core.datareport import DataReport
from kto_tui.core.manifest import REPLACED, describe, put_back_replaced, sync_folder
from kto_tui.training.after.logged import log_history
from kto_tui.training.card import adapter_card, training_sections
from kto_tui.training.curves import Logs
from kto_tui.training.sitting import Sitting
from kto_tui.training.sources import Source
from kto_tui.training.space import writing
from kto_tui.training.trainer import SteeredTrainer


def write_final_model(
    sitting: Sitting,
    trainer: SteeredTrainer,
    source: Source,
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
            sitting.config, step=step, logs=_logs(sitting, trainer, step), examples=examples, data=data
        )
        return _write(sitting, trainer, source, training)


def _logs(sitting: Sitting, trainer: SteeredTrainer, step: int) -> Logs:
    """What the run has logged up to the step, over all its sittings."""
    logs: Logs = trainer.state.log_history
    if not logs and sitting.resumed is not None:
        logs = log_history(sitting.resumed)  # There was nothing left to train.
    return [entry for entry in logs if entry.get("step", 0) <= step]


def _write(sitting: Sitting, trainer: SteeredTrainer, source: Source, training: str) -> Path:
    final = sitting.directory.final_model
    staged = sitting.store.staging / final.name
    shutil.rmtree(staged.parent, ignore_errors=True)
    trainer.save_model(str(staged))
    base = str(source.folder.resolve()) if source.own_copy else str(sitting.config.model)
    _name_base(staged / ADAPTER_CONFIG, base)
    adapter = final.resolve()
    card = adapter_card(sitting.config, training, title=adapter.parent.name, base=base, adapter=str(adapter))
    (staged / "README.md").write_text(card, encoding="utf-8")
    describe(staged)  # Reads each file back and has it reach the disk.
    sync_folder(staged)
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


def _name_base(path: Path, base: str) -> None:
    adapter = json.loads(path.read_text(encoding="utf-8"))
    adapter["base_model_name_or_path"] = base
    path.write_text(json.dumps(adapter, indent=2), encoding="utf-8")
