"""A checkpoint from a stranger: whatever is pickled into it, nothing of it is carried out."""

import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from kto_tui.core.events import AlertRaised, RunEnded
from kto_tui.core.manifest import describe, read_manifest, write_manifest
from tests.real_worker.harness import Sitting, sit, tiny, write_rows

pytestmark = pytest.mark.worker


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.target,)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Sitting:
    return sit(tiny(tmp_path_factory.mktemp("trained"), max_steps=2, save_steps=1))


def sign(checkpoint: Path) -> None:
    """Have the manifest fit the files, as somebody would who means harm."""
    manifest = read_manifest(checkpoint)
    write_manifest(checkpoint, msgspec.structs.replace(manifest, files=describe(checkpoint)))


def test_the_bomb_goes_off_where_it_is_not_looked_after(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "harm")))
    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"])
def test_nothing_pickled_is_carried_out(trained: Sitting, tmp_path: Path, name: str) -> None:
    harm, file = tmp_path / "harm", trained.output / "checkpoint-1" / name
    before = file.read_bytes()
    torch.save({"state": Bomb(harm)}, file)
    sign(trained.output / "checkpoint-1")
    settings = {"max_steps": 2, "resume_from_checkpoint": str(trained.output / "checkpoint-1")}
    again = sit(tiny(trained.output.parent, **settings))
    assert not harm.exists()
    if name == "training_args.bin":  # It is kept for other programs, and never read here.
        assert again.exit_code == 0
    else:
        assert again.exit_code == 2
        assert name in (again.of(RunEnded)[0].error or "")
        assert "holds more than tensors and numbers" in (again.of(RunEnded)[0].error or "")
    file.write_bytes(before)
    sign(trained.output / "checkpoint-1")


def test_a_checkpoint_that_was_changed_is_refused(trained: Sitting) -> None:
    checkpoint = trained.output / "checkpoint-1"
    file = checkpoint / "adapter_model.safetensors"
    before = file.read_bytes()
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    again = sit(tiny(trained.output.parent, max_steps=2, resume_from_checkpoint=str(checkpoint)))
    file.write_bytes(before)
    assert again.exit_code == 2
    assert "adapter_model.safetensors is not what was written" in (again.of(RunEnded)[0].error or "")


def test_other_rows_than_those_trained_on_are_refused_unless_allowed(tmp_path: Path) -> None:
    first = sit(tiny(tmp_path, max_steps=2, save_steps=1))
    write_rows(tmp_path / "rows.jsonl", 24)
    settings = {"max_steps": 2, "resume_from_checkpoint": str(first.output / "checkpoint-1")}
    refused = sit(tiny(tmp_path, **settings))
    assert refused.exit_code == 2
    assert "rows.jsonl are not those that it was trained on" in (refused.of(RunEnded)[0].error or "")
    allowed = sit(tiny(tmp_path, **settings, allow_changed_settings=True))
    assert allowed.exit_code == 0


def test_what_changed_since_is_told(tmp_path: Path) -> None:
    first = sit(tiny(tmp_path, max_steps=2, save_steps=1))
    settings = {"max_steps": 2, "resume_from_checkpoint": str(first.output / "checkpoint-1")}
    again = sit(tiny(tmp_path, **settings, learning_rate=5e-4, logging_steps=2))
    (alert,) = (alert for alert in again.of(AlertRaised) if alert.kind == "settings_changed")
    assert "--learning-rate 0.001 -> 0.0005" in alert.message
    assert "--logging-steps 1 -> 2" in alert.message
