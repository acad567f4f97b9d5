"""What the worker says of memory before it loads anything."""

import json
from pathlib import Path

import msgspec
import psutil
import pytest

from kto_tui.core.resolve import resolve
from kto_tui.sizing.lengths import Lengths
from kto_tui.training.fits import batch_alert, memory_alert
from tests.sizing.presets import PRESETS

CONFIG = resolve({"model_size": "24b", "dtype": "float32"})


def folder(tmp_path: Path, size: str) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(PRESETS[size][0]))
    return tmp_path


@pytest.mark.skipif(psutil.virtual_memory().total > 90 << 30, reason="24 billion float32 weights fit here")
def test_a_run_that_will_not_fit_is_told_what_to_change_first(tmp_path: Path) -> None:
    alert = memory_alert(CONFIG, folder(tmp_path, "24b"), Lengths(910, 900, "tokens"))
    assert alert is not None
    assert (alert.kind, alert.severity) == ("memory_short", "warning")
    assert "2 rows of 910 tokens at once" in alert.message
    assert "GiB is there" in alert.message
    assert alert.advice.startswith("Change first: --gradient-checkpointing on") or "--quant" in alert.advice


def test_a_run_that_fits_is_told_nothing(tmp_path: Path) -> None:
    small = msgspec.structs.replace(CONFIG, max_length=64, lora_rank=8)
    assert memory_alert(small, folder(tmp_path, "0.5b"), Lengths.at_most(64)) is None


@pytest.mark.parametrize("content", ["{}", "[]", "no json", "[" * 10**5])
def test_a_model_without_a_plan_is_no_reason_to_say_anything(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert memory_alert(CONFIG, tmp_path, Lengths.at_most(64)) is None
    assert memory_alert(CONFIG, tmp_path / "nowhere", Lengths.at_most(64)) is None


def test_a_smaller_micro_batch_than_the_presets_is_remarked_on() -> None:
    preset = resolve({"model_size": "1.5b"})
    assert batch_alert(preset) is None
    alert = batch_alert(msgspec.structs.replace(preset, batch_size=4, gradient_accumulation_steps=8))
    assert alert is not None
    assert (alert.kind, alert.severity) == ("batch_halved", "info")
    assert "micro-batches of 4 rows instead of the preset's 16" in alert.message
    assert batch_alert(msgspec.structs.replace(preset, batch_size=4)) is None
    assert batch_alert(resolve({"model": "m"})) is None
