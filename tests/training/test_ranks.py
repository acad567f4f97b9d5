"""Two processes that train together: z and figures are those of all their rows."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch.multiprocessing.spawn import spawn

from kto_tui.training.blocks import plan_blocks
from kto_tui.training.engine import EngineTrainer
from kto_tui.training.plans import Planned
from kto_tui.training.tiny import build_model, build_tokenizer
from kto_tui.training.tokens import TokenizedRows
from tests.training.short import short

STEPS, BATCH = 3, 4
COMPARED = (
    "loss",
    "kl",
    "rewards/chosen",
    "rewards/rejected",
    "rewards/margins",
    "logps/chosen",
    "entropy",
    "num_tokens",
)


def rows() -> TokenizedRows:
    generator = torch.Generator().manual_seed(3)

    def ids(least: int) -> list[int]:
        count = int(torch.randint(least, 16, (1,), generator=generator))
        return torch.randint(5, 200, (count,), generator=generator).tolist()

    return TokenizedRows.of((ids(2), ids(1), row % 2 == 0) for row in range(2 * STEPS * BATCH))


def train(folder: Path, accumulation: int, kl_scope: Any) -> list[dict[str, float]]:
    """The logged figures of STEPS steps, in this process's share of the work."""
    tokens = rows()
    trainer = EngineTrainer(
        train=Planned(tokens, plan_blocks(tokens.lengths(64), tokens.desirable, BATCH, paired=True)),
        kl_scope=kl_scope,
        model=build_model(build_tokenizer()),
        args=short(
            folder,
            max_length=64,
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=accumulation,
            learning_rate=3e-2,
            max_steps=STEPS,
            seed=11,
            logging_strategy="steps",
            logging_steps=1,
            logging_first_step=True,
        ),
        processing_class=build_tokenizer(),
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def rank(number: int, folder: Path, port: int, kl_scope: str) -> None:
    """One of two processes, as torch's launcher would start them."""
    os.environ.update(
        {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    )
    logged = train(folder / str(number), 1, kl_scope)
    (folder / f"{number}.json").write_text(json.dumps(logged), encoding="utf-8")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def test_two_ranks_are_one_run_of_twice_the_accumulation(tmp_path: Path) -> None:
    """The same blocks in the same steps: what each rank does is half of what one process would."""
    spawn(rank, (tmp_path, free_port(), "step"), nprocs=2)  # type: ignore[no-untyped-call]
    alone = train(tmp_path / "alone", 2, "step")
    for number in (0, 1):
        logged = json.loads((tmp_path / f"{number}.json").read_text(encoding="utf-8"))
        assert len(logged) == STEPS
        for found, wanted in zip(logged, alone, strict=True):
            for name in COMPARED:
                assert found[name] == pytest.approx(wanted[name], rel=2e-4, abs=2e-5), name
    assert any(step["kl"] > 0 for step in alone)
