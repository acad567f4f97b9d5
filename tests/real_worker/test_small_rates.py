"""Point 1 of KTO's pitfalls: over 4-bit weights, adapters in bfloat16 stand still at a small rate."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file
from trl import KTOTrainer

from kto_tui.training.arguments import kto_config, lora_config
from kto_tui.training.model import load_base
from kto_tui.training.reading import read_rows
from tests.real_worker.harness import Sitting, sit, tiny

RATE = 1e-6
SETTINGS: dict[str, Any] = {
    "quantization": "nf4",
    "lr_scheduler_type": "constant",
    "optim": "adamw_torch",
    "logging_steps": 100,
    "save_steps": 1000,
    "batch_size": 2,
}


def adapter(sitting: Sitting) -> dict[str, torch.Tensor]:
    return load_file(sitting.output / "final_model" / "adapter_model.safetensors")


def share_moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> float:
    """Of all elements of the adapters' A matrices, which do not begin at 0."""
    pairs = [(before[name], after[name]) for name in before if "lora_A" in name]
    return sum(int((a != b).sum()) for a, b in pairs) / sum(a.numel() for a, _ in pairs)


def test_every_element_moves_at_a_small_learning_rate(tmp_path: Path) -> None:
    begun = adapter(sit(tiny(tmp_path / "begun", max_steps=1, learning_rate=1e-30, **SETTINGS)))
    ours = adapter(sit(tiny(tmp_path / "ours", max_steps=200, learning_rate=RATE, **SETTINGS)))
    assert all(bool((tensor != begun[name]).all()) for name, tensor in ours.items())

    config = tiny(tmp_path / "theirs", max_steps=20, learning_rate=RATE, **SETTINGS)
    base = load_base(config, lambda *_: None)
    rows = read_rows(config, str(config.dataset)).rows
    table = [{"prompt": row.prompt, "completion": row.completion, "label": row.label} for row in rows]
    trainer = KTOTrainer(
        model=base.model,
        args=kto_config(config, (1.0, 1.0)),
        processing_class=base.tokenizer,
        train_dataset=Dataset.from_list(table),
        peft_config=lora_config(config),
    )
    trained = dict(trainer.model.named_parameters())
    before = {name: tensor.detach().clone() for name, tensor in trained.items() if tensor.requires_grad}
    assert {tensor.dtype for tensor in before.values()} == {torch.bfloat16}
    trainer.train()
    assert share_moved(before, {name: trained[name].detach() for name in before}) < 0.1
