"""What other KTO trainers get wrong, as far as a whole run shows it. Of the nine points of the docs

1 (small rates under 4 bit) is in test_small_rates.py; 5 (z pooled) in tests/training/test_pooled_z.py and
test_ranks.py; 6 (balanced weights) in tests/training/test_weights.py; 7 (labels) in tests/data/test_labels.py
and test_files.py; 9 (where prompt and answer meet) in tests/training/test_dataset.py. Plans alone, against
TRL's, are in tests/training/test_blocks.py; here it is what reaches the model.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import KTOTrainer

from kto_tui.core.config import RunConfig
from kto_tui.core.events import DataReady, StepLogged
from kto_tui.training.arguments import kto_config, lora_config
from kto_tui.training.batches import Block
from kto_tui.training.dataset import prepare
from kto_tui.training.engine import EngineTrainer
from kto_tui.training.plans import Planned
from kto_tui.training.reading import read_rows
from kto_tui.training.tiny import build_model, build_tokenizer
from kto_tui.training.trainer import SteeredTrainer
from tests.real_worker.harness import sit, tiny, write_rows
from tests.real_worker.scarce import patched
from tests.real_worker.test_evaluation import scores


def blocks_of(config: RunConfig) -> list[Block]:
    """The blocks of a run, in the order in which they were trained."""
    seen: list[Block] = []

    def watch(method: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*args: Any) -> Any:
            blocks, items = method(*args)
            seen.extend(blocks)
            return blocks, items

        return watching

    with patched(SteeredTrainer, "get_batch_samples", watch):
        sit(config)
    return seen


def epochs(blocks: list[Block], count: int) -> Iterator[list[bytes]]:
    each = len(blocks) // count
    return ([block.key for block in blocks[at : at + each]] for at in range(0, len(blocks), each))


def test_pairs_stay_and_their_order_is_drawn_for_each_epoch(tmp_path: Path) -> None:
    """Points 2 and 4. TRL pairs by the processes that prepare, and has one order for all epochs and seeds."""
    runs = {
        name: list(epochs(blocks_of(tiny(tmp_path / name, max_steps=18, seed=seed)), 3))
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    }
    assert runs["first"] == runs["again"]
    assert runs["first"] != runs["other"]
    for orders in runs.values():
        assert len({tuple(order) for order in orders}) == 3
        assert len({frozenset(order) for order in orders}) == 1
    assert set(runs["first"][0]) == set(runs["other"][0])


@pytest.mark.parametrize("count", [9, 13, 22])
def test_blocks_have_both_labels_and_never_a_single_row(tmp_path: Path, count: int) -> None:
    """Points 3 and 4, of rows that come label by label."""
    path = Path(write_rows(tmp_path / "mixed.jsonl", count))
    lines = path.read_text(encoding="utf-8").splitlines()
    lines.sort(key=lambda line: json.loads(line)["label"])
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    blocks = blocks_of(tiny(tmp_path, max_steps=None, num_epochs=1))
    assert sum(map(len, blocks)) == count
    for block in blocks:
        assert len(block) >= 2
        assert set(block.desirable.tolist()) == {True, False}
        assert block.mismatched is not None
        for own, other, prompt in zip(
            block.own.input_ids, block.mismatched.input_ids, block.own.prompt_lengths, strict=True
        ):
            shorter = min(len(own), len(other))
            assert torch.equal(own[:prompt], other[:prompt])
            assert len(own) != len(other) or not torch.equal(own[:shorter], other[:shorter])


@pytest.mark.parametrize(("weights", "loss"), [("0:1", 0.25), ("1:0", 0.25), ("0:3", 0.75), ("1:1", 0.5)])
def test_a_class_weight_of_0_stays_0(tmp_path: Path, weights: str, loss: float) -> None:
    """Point 6. Blocks of two rows have one of each label, and each loss is one half at first."""
    sitting = sit(tiny(tmp_path, max_steps=2, batch_size=2, class_weights=weights))
    desirable, undesirable = map(float, weights.split(":"))
    assert sitting.of(DataReady)[0].weights == (desirable, undesirable)
    assert sitting.of(StepLogged)[0].metrics["loss"] == pytest.approx(loss, abs=1e-5)


def moved(trainer: KTOTrainer) -> KTOTrainer:
    """With an adapter that does something, the same in each."""
    draw = torch.Generator().manual_seed(5)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=draw))
    return trainer


def test_each_row_of_an_evaluation_counts_alike(tmp_path: Path) -> None:
    """Point 8. Of 5 rows TRL makes blocks of 4 and of 1 that count alike, the one paired with itself."""
    config = tiny(tmp_path, dataset=write_rows(tmp_path / "five.jsonl", 5))
    tokenizer, rows = build_tokenizer(), read_rows(config, str(config.dataset)).rows
    prepared = prepare(rows, tokenizer, config, lambda *_: None)
    plan = Planned(prepared.rows, prepared.blocks)
    common: dict[str, Any] = {
        "args": kto_config(config, (1.0, 1.0)),
        "processing_class": tokenizer,
        "peft_config": lora_config(config),
    }
    ours = moved(EngineTrainer(model=build_model(tokenizer), train=plan, evaluation=plan, **common))
    table = Dataset.from_list(
        [{"prompt": row.prompt, "completion": row.completion, "label": row.label} for row in rows]
    )
    theirs = moved(
        KTOTrainer(model=build_model(tokenizer), train_dataset=table, eval_dataset=table, **common)
    )
    found, other = ours.evaluate(), theirs.evaluate()

    model = ours.model.eval()
    prompts = [prepared.rows.prompt(row) for row in range(5)]
    answers = [prepared.rows.completion(row) for row in range(5)]
    adapted = scores(model, prompts, answers, config.max_length)
    with model.disable_adapter():
        plain = scores(model, prompts, answers, config.max_length)
    rewards = [config.beta * (one - two) for one, two in zip(adapted, plain, strict=True)]
    sides = {
        side: [reward for reward, row in zip(rewards, rows, strict=True) if row.label == label]
        for side, label in (("chosen", True), ("rejected", False))
    }
    for side, values in sides.items():
        assert found[f"eval_rewards/{side}"] == pytest.approx(sum(values) / len(values), rel=1e-4)
    # Rows 0, 2 and 4 are undesirable; the last is TRL's second block.
    first, second, alone = sides["rejected"]
    miscounted = ((first + second) / 2 + alone) / 2
    assert other["eval_rewards/rejected"] == pytest.approx(miscounted, rel=1e-4)
    assert miscounted != pytest.approx(found["eval_rewards/rejected"], rel=1e-2)
