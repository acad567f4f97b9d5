"""What has to hold after every fault, whatever it was."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from kto_tui.core.directory import MANIFEST_NAME, RunDirectory
from kto_tui.core.events import (
    AnyEvent,
    CheckpointDeleted,
    CheckpointPinned,
    CheckpointSaved,
    RunEnded,
    RunStarted,
    StageChanged,
    StepLogged,
)
from kto_tui.core.manifest import problem_of, read_manifest
from tests.faults.harness import PROJECT, Broken, Run


def check_after_fault(run: Run, torn_lines: int = 0) -> None:
    """Before anything is mended: nothing runs, and nothing that was promised is gone."""
    run.wait_until_gone()
    check_checkpoints(run.directory, run.events, run.settings.save_total_limit, mid_rotation=True)
    check_journal(run.directory.events, torn_lines)


def check_after_recovery(
    run: Run, undisturbed: bytes, *, redone: int, torn_lines: int = 0, at_least: int | None = None
) -> None:
    """The run has completed: everything holds, to the bit.

    `redone`: steps that may have been done again after any one fault.
    """
    run.wait_until_gone()
    events = run.events
    limit = run.settings.save_total_limit
    check_checkpoints(run.directory, events, limit, mid_rotation=False)
    check_journal(run.directory.events, torn_lines)
    check_ending(events, run.settings.max_steps)
    check_steps(events, redone)
    check_rotation(run.directory, limit if at_least is None else at_least, limit)
    check_weights(run.directory, undisturbed)
    check_listed(run)


def announced(events: Iterable[AnyEvent]) -> dict[str, CheckpointSaved]:
    """Checkpoints by name that were announced as saved, and not as deleted since; oldest first."""
    found: dict[str, CheckpointSaved] = {}
    for event in events:
        if isinstance(event, (CheckpointSaved, CheckpointDeleted)):
            found.pop(Path(event.path).name, None)
        if isinstance(event, CheckpointSaved):
            found[Path(event.path).name] = event
    return found


def check_checkpoints(
    directory: RunDirectory, events: Sequence[AnyEvent], limit: int, *, mid_rotation: bool
) -> None:
    """None that was announced is lost or unreadable. `mid_rotation`: those due to be deleted may be gone."""
    there = announced(events)
    pinned = {Path(event.path).name for event in events if isinstance(event, CheckpointPinned)}
    rotating = [name for name, saved in there.items() if saved.reason != "requested" and name not in pinned]
    # A kill takes what the worker has said with it: the newest may lie on the disk without being announced.
    unannounced = [path.name for path in directory.checkpoints() if path.name not in there]
    due = set([*rotating, *unannounced][:-limit]) if mid_rotation else set()
    for name in there:
        if name not in due and not (directory.path / name).exists():
            raise Broken(f"{name} was announced as saved; it is gone, and no checkpoint_deleted tells of it")
        if name not in due and (problem := problem_of(directory.path / name)):
            raise Broken(f"{name} was announced as saved and not as deleted, and now: {problem}")
        if (directory.path / name / MANIFEST_NAME).is_file():
            _open(directory.path / name)


def _open(checkpoint: Path) -> None:
    import torch
    from safetensors import safe_open

    try:
        for path in checkpoint.glob("*.safetensors"):
            with safe_open(path, "pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118  (not a dict)
                    tensors.get_tensor(key)
        for path in checkpoint.glob("*.pt"):
            torch.load(path, weights_only=True)
    except Exception as error:
        raise Broken(f"{checkpoint.name} matches its manifest and cannot be opened: {error}") from error


def check_journal(path: Path, torn_lines: int = 0) -> None:
    """Every line is whole JSON but for so many, and the numbers only grow."""
    *lines, rest = path.read_bytes().split(b"\n")
    torn, last = int(bool(rest)), 0
    for number, line in enumerate(lines, 1):
        try:
            seq = json.loads(line)["seq"]
        except ValueError:
            torn += bool(line)
            continue
        if seq <= last:
            raise Broken(f"{path.name}, line {number}: seq {seq} follows {last}")
        last = seq
    if torn > torn_lines:
        raise Broken(f"{path.name}: {torn} torn lines; expected {torn_lines} at most")


def check_ending(events: Sequence[AnyEvent], max_steps: int) -> None:
    ended = events[-1]
    if not isinstance(ended, RunEnded):
        raise Broken(f"the journal ends with {type(ended).__name__}, not with RunEnded")
    if (ended.status, ended.step) != ("completed", max_steps):
        raise Broken(f"the run is {ended.status} at step {ended.step} of {max_steps}: {ended.error}")


def redone_steps(events: Iterable[AnyEvent]) -> list[int]:
    """For each time that a worker went on: how many steps that the journal knew were done again.

    Raises Broken for steps that come twice or not at all while one worker worked.
    """
    found, last, fresh = [], 0, True
    for event in events:
        if isinstance(event, RunStarted) or (
            isinstance(event, StageChanged) and event.stage == "loading_model"
        ):
            fresh = True
        elif isinstance(event, StepLogged):
            if fresh:
                found.append(max(0, last - event.step + 1))
            elif event.step != last + 1:
                raise Broken(f"step {event.step} follows step {last}")
            last, fresh = event.step, False
    return found[1:]


def check_steps(events: Sequence[AnyEvent], redone: int) -> None:
    if (most := max(redone_steps(events), default=0)) > redone:
        raise Broken(f"{most} steps were done again after a fault; expected {redone} at most")


def check_rotation(directory: RunDirectory, least: int, most: int) -> None:
    """The promised number of checkpoints is there, beside those that were asked for."""
    counted = [path.name for path in directory.checkpoints() if _rotates(path)]
    if not least <= len(counted) <= most:
        raise Broken(f"--save-total-limit {most}, and there are: {', '.join(counted) or 'none'}")
    if left := [path.name for path in directory.path.iterdir() if path == directory.staging]:
        raise Broken(f"left behind: {left[0]}")


def _rotates(checkpoint: Path) -> bool:
    return read_manifest(checkpoint).reason != "requested"


def check_weights(directory: RunDirectory, undisturbed: bytes) -> None:
    final = directory.final_model / "adapter_model.safetensors"
    if not final.is_file():
        raise Broken("the run has completed without a final_model")
    if final.read_bytes() != undisturbed:
        raise Broken("the final weights differ from those of the undisturbed run")


def listed(run: Run) -> str:
    """What `kto-tui runs` says of the run's folder."""
    command = [sys.executable, "-m", "kto_tui", "runs", str(run.directory.path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def check_listed(run: Run) -> None:
    text, steps = listed(run), run.settings.max_steps
    if not re.search(rf"completed\s+{steps}(/{steps})?\s", text):
        raise Broken(f"kto-tui runs does not show the run as completed at step {steps}: {text}")
