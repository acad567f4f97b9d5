"""The engine against its oracle: `trl.KTOTrainer` on the same rows in the same micro-batches."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from trl import KTOConfig, KTOTrainer

from kto_tui.data import Row
from kto_tui.training.batches import Block
from kto_tui.training.blocks import EpochBlocks, plan_blocks
from kto_tui.training.dataset import tokenize_row
from kto_tui.training.engine import EngineTrainer
from kto_tui.training.plans import Planned
from kto_tui.training.reference import ReferenceCache
from kto_tui.training.tiny import build_model, build_tokenizer
from kto_tui.training.tokens import TokenizedRows
from tests.training.short import short

BATCH, STEPS, MAX_LENGTH, SEED = 4, 10, 48, 7
TOLERANCE = 1e-5


@dataclass
class Trace:
    """What each micro-batch came to."""

    losses: list[float] = field(default_factory=list)
    points: list[float] = field(default_factory=list)
    chosen: list[float] = field(default_factory=list)
    rejected: list[float] = field(default_factory=list)


class Oracle(KTOTrainer):  # type: ignore[misc]
    """TRL as it is, written down."""

    def __init__(self, trace: Trace, **kwargs: Any) -> None:
        self._trace = trace
        super().__init__(**kwargs)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        found = self._metrics["train"]
        self._trace.losses.append(float(loss.detach()))
        self._trace.points.append(found["kl"][-1])
        self._trace.chosen.append(found["rewards/chosen"][-1])
        self._trace.rejected.append(found["rewards/rejected"][-1])
        return loss


class Ours(EngineTrainer):
    """The engine, written down."""

    def __init__(self, trace: Trace, **kwargs: Any) -> None:
        self._trace = trace
        super().__init__(**kwargs)

    def compute_loss(self, model: torch.nn.Module, inputs: Block, *args: Any, **kwargs: Any) -> Any:
        before = self.tally.copy().state()
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        after = self.tally.state()

        def mean(name: str) -> float:
            total, count = (a - b for a, b in zip(after[name], before.get(name, (0.0, 0.0)), strict=True))
            return total / count

        self._trace.losses.append(float(loss.detach()) / inputs.share)
        self._trace.points.append(mean("kl"))
        self._trace.chosen.append(mean("rewards/chosen"))
        self._trace.rejected.append(mean("rewards/rejected"))
        return loss


def make_rows(count: int) -> list[Row]:
    """Text rows of many lengths, some above MAX_LENGTH; three of four desirable, so that z gets above 0."""
    return [
        Row(
            f"Say {n}: " + "well, " * (n % 4),
            f"{n * n} it is" + " indeed" * (n % 6) + "!" * (n % 3),
            n % 4 != 1,
            f"rows.jsonl, row {n + 1}",
        )
        for n in range(count)
    ]


def arguments(folder: Path, accumulation: int, loss_type: str, lora: bool) -> KTOConfig:
    return short(
        folder,
        loss_type=loss_type,
        beta=0.1,
        desirable_weight=1.0,
        undesirable_weight=1.3,
        max_length=MAX_LENGTH,
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=accumulation,
        learning_rate=2e-3 if lora else 5e-4,
        max_steps=STEPS,
        seed=SEED,
    )


def train_both(
    folder: Path, *, loss_type: str, lora: bool, accumulation: int, caches: int
) -> tuple[Trace, Trace, list[torch.Tensor], list[torch.Tensor]]:
    """Both traces, and both sets of weights at the end; ours after `caches` runs that filled the cache."""
    tokenizer, rows = build_tokenizer(), make_rows(BATCH * accumulation * STEPS)
    tokens = TokenizedRows.of((*tokenize_row(row, tokenizer)[:2], row.label) for row in rows)
    blocks = plan_blocks(tokens.lengths(MAX_LENGTH), tokens.desirable, BATCH, paired=True)
    ours, weights = Trace(), []
    for _ in range(caches + 1):
        ours = Trace()
        cache = ReferenceCache.open(folder / "cache", "tiny") if caches else None
        trainer = Ours(
            ours,
            train=Planned(tokens, blocks),
            kl_scope="micro_batch",
            reference=cache,
            model=build_model(tokenizer),
            args=arguments(folder / "ours", accumulation, loss_type, lora),
            processing_class=tokenizer,
            **adapters(lora),
        )
        weights = learned(trainer)
        if cache:
            trainer.keep_references()
            cache.close()
    ordered = [rows[row] for block in EpochBlocks(blocks, SEED) for row in block]
    theirs = Trace()
    oracle = Oracle(
        theirs,
        train_dataset=as_table(ordered),
        model=build_model(tokenizer),
        args=arguments(folder / "theirs", accumulation, loss_type, lora),
        processing_class=tokenizer,
        **adapters(lora),
    )
    return ours, theirs, weights, learned(oracle)


def adapters(lora: bool) -> dict[str, Any]:
    """What makes it LoRA, or else full fine-tuning with a reference of its own."""
    if lora:
        config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
        return {"peft_config": config}
    return {"ref_model": build_model(build_tokenizer())}


def learned(trainer: KTOTrainer) -> list[torch.Tensor]:
    trainer.train()
    return [p.detach().clone() for p in trainer.model.parameters() if p.requires_grad]


def as_table(rows: list[Row]) -> Dataset:
    return Dataset.from_list(
        [{"prompt": r.prompt, "completion": r.completion, "label": r.label} for r in rows]
    )


@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize(
    ("accumulation", "caches"),
    [pytest.param(1, 0, marks=pytest.mark.slow), (1, 1), (2, 0), pytest.param(2, 1, marks=pytest.mark.slow)],
)
def test_ten_steps_are_those_of_trl(
    tmp_path: Path, loss_type: str, lora: bool, accumulation: int, caches: int
) -> None:
    ours, theirs, weights, wanted = train_both(
        tmp_path, loss_type=loss_type, lora=lora, accumulation=accumulation, caches=caches
    )
    assert len(ours.losses) == len(theirs.losses) == STEPS * accumulation
    for name in ("losses", "points", "chosen", "rejected"):
        found, expected = torch.tensor(getattr(ours, name)), torch.tensor(getattr(theirs, name))
        # Relative to the figure's size in this run: a reward near 0 is a difference of log-probabilities of
        # 150 nats, which float32 itself does not know any better.
        assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max(), name
    assert len(set(theirs.losses)) > STEPS / 2
    assert sum(point > 0 for point in theirs.points) > STEPS / 2 or loss_type != "kto"
    # AdamW's first steps follow the sign of a gradient, so single elements may part where it is all but 0.
    apart = sum(float((mine - other).square().sum()) for mine, other in zip(weights, wanted, strict=True))
    assert apart <= 1e-6 * sum(float(other.square().sum()) for other in wanted)
