"""What became of checkpoints while nobody said so: their worker died, or had no supervisor any more."""

from collections.abc import Collection, Iterator

from kto_tui.core.directory import RunDirectory, checkpoint_step
from kto_tui.core.events import CheckpointDeleted, CheckpointSaved
from kto_tui.core.manifest import Damaged, verify


def untold(
    directory: RunDirectory, announced: Collection[int]
) -> Iterator[CheckpointSaved | CheckpointDeleted]:
    """Events that make the journal agree with the folder, which is to hold the `announced` steps.

    One that is damaged was not deleted, and is not announced anew.
    """
    there = {step: path for path in directory.checkpoints() if (step := checkpoint_step(path)) is not None}
    for step in sorted(set(announced) - there.keys()):
        yield CheckpointDeleted(step=step, path=str(directory.checkpoint(step)))
    for step in sorted(there.keys() - set(announced)):
        try:
            manifest = verify(there[step])
        except Damaged:
            continue
        size = sum(file.bytes for file in manifest.files.values())
        yield CheckpointSaved(
            step=step, path=str(there[step]), bytes=size, seconds=0.0, reason=manifest.reason
        )
