"""--gradient-checkpointing auto: activations are computed again where they would not fit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kto_tui.core.events import RunEnded
from kto_tui.training import work
from kto_tui.training.trainer import SteeredTrainer
from tests.real_worker.harness import Sitting, at_step, sit, tiny


class Watched(SteeredTrainer):
    """Notes before each step whether the layers really compute again."""

    recomputing: list[bool]

    def training_step(self, model: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        flags = [m.gradient_checkpointing for m in model.modules() if hasattr(m, "gradient_checkpointing")]
        self.recomputing.append(any(flags))
        return super().training_step(model, *args, **kwargs)


def watched(monkeypatch: pytest.MonkeyPatch, free: int) -> list[bool]:
    Watched.recomputing = []
    monkeypatch.setattr(work, "SteeredTrainer", Watched)
    monkeypatch.setattr(work, "free_bytes", lambda: free)
    return Watched.recomputing


def kept(sitting: Sitting, checkpoint: str) -> Any:
    path = sitting.output / checkpoint / "accumulators.json"
    return json.loads(path.read_text(encoding="utf-8"))["gradient_checkpointing"]


@pytest.mark.parametrize(("free", "recomputes"), [(1 << 40, False), (1000, True)])
def test_auto_goes_by_the_memory_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, recomputes: bool
) -> None:
    seen = watched(monkeypatch, free)
    sitting = sit(tiny(tmp_path))
    assert sitting.of(RunEnded)[0].error is None
    assert set(seen) == {recomputes}
    assert kept(sitting, "checkpoint-4") is recomputes


def test_a_resumed_run_goes_on_as_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch, 1000)
    whole = sit(tiny(tmp_path / "whole"))
    first = sit(tiny(tmp_path / "broken"), at_step(1, "stop"))
    seen = watched(monkeypatch, 1 << 40)
    again = sit(tiny(tmp_path / "broken", resume_from_checkpoint=str(first.output / "checkpoint-2")))
    assert set(seen) == {True}
    assert again.adapter("final_model") == whole.adapter("final_model")
