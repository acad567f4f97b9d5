"""Point 5 of KTO's pitfalls: z is the mean over all pairs of an optimizer step, clamped once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from kto_tui.training.batches import Block
from kto_tui.training.blocks import plan_blocks
from kto_tui.training.engine import EngineTrainer
from kto_tui.training.plans import Planned
from kto_tui.training.tiny import build_model, build_tokenizer
from tests.training.short import short
from tests.training.test_ranks import rows

ACCUMULATION, BATCH = 3, 2


class Watched(EngineTrainer):
    """Writes down z as it is used, and the log-ratios of each block's pairs as measured beside it."""

    def __init__(self, **kwargs: Any) -> None:
        self.used: list[list[float]] = []
        self.measured: list[list[torch.Tensor]] = []
        super().__init__(**kwargs)

    def get_batch_samples(self, *args: Any) -> tuple[list[Block], None]:
        blocks, items = super().get_batch_samples(*args)
        ratios = []
        for block in blocks:
            assert block.ref_kl_logps is not None
            ratios.append(self.passes.policy(block, BATCH)[1] - block.ref_kl_logps)
        self.measured.append(ratios)
        self.used.append([float(b.reference_point) for b in blocks if b.reference_point is not None])
        return blocks, items


def watched(folder: Path, kl_scope: Any) -> Watched:
    tokens = rows()
    trainer = Watched(
        train=Planned(tokens, plan_blocks(tokens.lengths(64), tokens.desirable, BATCH, paired=True)),
        kl_scope=kl_scope,
        model=build_model(build_tokenizer()),
        args=short(
            folder,
            max_length=64,
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=ACCUMULATION,
            learning_rate=1e-2,
            max_steps=8,
        ),
        processing_class=build_tokenizer(),
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.train()
    return trainer


def test_z_is_pooled_over_the_step_and_clamped_after(tmp_path: Path) -> None:
    trainer = watched(tmp_path, "step")
    by_block = []
    for used, ratios in zip(trainer.used, trainer.measured, strict=True):
        assert len(used) == ACCUMULATION
        pooled = float(torch.cat(ratios).mean().clamp(min=0))
        assert used == pytest.approx([pooled] * ACCUMULATION, abs=1e-5)
        by_block.append(float(torch.stack([r.mean().clamp(min=0) for r in ratios]).mean()) - pooled)
    assert any(max(used) > 0.01 for used in trainer.used)
    # Clamping each micro-batch's mean, as TRL does, is never below that, and in some step well above.
    assert min(by_block) > -1e-5
    assert max(by_block) > 0.01


def test_micro_batch_is_trl_s_way(tmp_path: Path) -> None:
    trainer = watched(tmp_path, "micro_batch")
    inline = [used for used in trainer.used if not used]
    assert len(inline) == len(trainer.used)  # z comes with each block's own pass
    assert trainer.passes.shares_prompts
