"""Whether a run can go on from its checkpoint: a whole one, of these settings, these rows and this base."""

from collections.abc import Mapping
from pathlib import Path

from kto_tui.core.changes import changed_settings, describe_changes
from kto_tui.core.compatibility import check_adapter
from kto_tui.core.errors import UserError
from kto_tui.core.manifest import problem_of
from kto_tui.training.alerts import settings_changed
from kto_tui.training.beginning import adapter_digest
from kto_tui.training.dataset import Prepared, fingerprint
from kto_tui.training.identity import base_fingerprint, require_same
from kto_tui.training.model import Base
from kto_tui.training.reading import Split
from kto_tui.training.resumed import check_files, resumed_step
from kto_tui.training.sitting import Sitting
from kto_tui.training.targets import packs_experts


def check_checkpoint(sitting: Sitting, resumed: Path) -> None:
    """Raise UserError unless the checkpoint is as it was written, and one of these settings.

    Changes that are allowed are listed as an alert.
    """
    sitting.progress("loading_model")(0, 0, f"verifying {resumed.name}")
    if problem := problem_of(resumed):
        raise UserError(
            f"--resume-from-checkpoint {resumed}: it is damaged: {problem}; resume from another one"
        )
    check_files(resumed)
    check_adapter(resumed, sitting.config)
    if changes := changed_settings(resumed, sitting.config):
        harmless = all(change.harmless for change in changes)
        words, step = describe_changes(changes), resumed_step(resumed)
        sitting.emitter.emit(settings_changed(words, step, harmless=harmless))


def check_identity(sitting: Sitting, base: Base, prepared: Mapping[Split, Prepared]) -> None:
    """Take note of the rows and the base, as each checkpoint will hold them.

    Raises UserError if the checkpoint was trained on others, unless that is allowed.
    """
    sitting.identity = {
        "data": fingerprint(prepared["train"]),
        "base": _identity(base),
        "evaluation_data": fingerprint(prepared["eval"]) if "eval" in prepared else None,
    }
    if sitting.resumed and not sitting.config.allow_changed_settings:
        require_same(sitting.resumed, sitting.config, sitting.identity)


def _identity(base: Base) -> str:
    """Of the weights, whether experts are packed (older versions did not), and of the adapter begun with."""
    found = [base_fingerprint(base.source.folder)]
    if packs_experts(base.model):
        found.append("experts packed")
    if base.adapter:
        found.append(adapter_digest(base.adapter))
    return " ".join(found)
