"""Rows that are only evaluated on: when, with which figures, and without a trace in what is trained."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from kto_tui.core.events import DataReady, Evaluated, Progress, RunEnded, StageChanged, StepLogged
from kto_tui.training.blocks import mismatched
from kto_tui.training.dataset import prepare, split_rows
from kto_tui.training.reading import read_rows
from tests.real_worker.harness import Sitting, at_step, sit, tiny, write_rows

FIGURES = {
    *("loss", "kl", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/auc"),
    *("logps/chosen", "logps/rejected", "runtime", "samples_per_second"),
}
BETA = 0.1


def scores(model: Any, prompts: Sequence[Any], answers: Sequence[Any], longest: int) -> list[float]:
    """Row by row, log-probabilities of the answers, summed."""
    sums = []
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([[*prompt, *answer][:longest]])
        with torch.no_grad():
            every = model(input_ids=ids).logits[0].log_softmax(-1)
        told = range(len(prompt), ids.shape[1])
        sums.append(sum(float(every[place - 1, ids[0, place]]) for place in told))
    return sums


def recomputed(sitting: Sitting, rows: Sequence[Any], checkpoint: str) -> dict[str, float]:
    """The figures as kto.md and the docs define them, from what lies on the disk."""
    base = sitting.output / "base_model"
    tokens = prepare(rows, AutoTokenizer.from_pretrained(base), sitting.config, lambda *_: None)
    prompts = [tokens.rows.prompt(row) for row in range(len(rows))]
    answers = [tokens.rows.completion(row) for row in range(len(rows))]
    others: list[Any] = [None] * len(rows)
    for block in tokens.blocks:
        for row, answer in zip(block, mismatched([answers[row] for row in block]), strict=True):
            others[row] = answer
    policy = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), sitting.output / checkpoint
    ).eval()

    def log_ratios(given: list[Any]) -> list[float]:
        adapted = scores(policy, prompts, given, sitting.config.max_length)
        with policy.disable_adapter():
            plain = scores(policy, prompts, given, sitting.config.max_length)
        return [one - other for one, other in zip(adapted, plain, strict=True)]

    ratios, off = log_ratios(answers), log_ratios(others)
    z = max(0.0, sum(off) / len(off))
    labels = tokens.rows.desirable.tolist()
    signs = [1 if label else -1 for label in labels]
    losses = [1 / (1 + math.exp(sign * BETA * (r - z))) for sign, r in zip(signs, ratios, strict=True)]
    sides = {
        s: [BETA * r for r, label in zip(ratios, labels, strict=True) if label == s] for s in (True, False)
    }
    wins = [(a > b) + (a == b) / 2 for a in sides[True] for b in sides[False]]
    chosen, rejected = (sum(side) / len(side) for side in (sides[True], sides[False]))
    return {
        "loss": sum(losses) / len(losses),
        "kl": z,
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/auc": sum(wins) / len(wins),
    }


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Sitting:
    """Six steps, an evaluation each two, of 9 rows: blocks of 4, 3 and 2."""
    return sit(with_rows(tmp_path_factory.mktemp("run")))


def with_rows(folder: Path, **changes: Any) -> Any:
    folder.mkdir(exist_ok=True)
    settings: dict[str, Any] = {
        "max_steps": 6,
        "eval_steps": 2,
        "save_steps": 2,
        "learning_rate": 4e-3,
        "save_total_limit": 9,
    }
    settings["eval_dataset"] = write_rows(folder / "eval.jsonl", 9)
    return tiny(folder, **{**settings, **changes})


def test_it_comes_at_its_steps_and_at_the_end(tmp_path: Path) -> None:
    sitting = sit(with_rows(tmp_path, max_steps=5, logging_steps=3))
    assert [event.step for event in sitting.of(Evaluated)] == [2, 4, 5]
    stages = [event.stage for event in sitting.of(StageChanged)]
    assert stages.count("evaluating") == 3
    last = len(stages) - 1 - stages[::-1].index("evaluating")
    assert stages[last + 1] == "training"
    done = [p.done for p in sitting.of(Progress) if p.stage == "evaluating" and p.done == p.total]
    assert done == [3, 3, 3]


def test_it_is_part_of_what_is_saved_by_default(tmp_path: Path) -> None:
    sitting = sit(with_rows(tmp_path, eval_steps=None, save_steps=3))
    assert [event.step for event in sitting.of(Evaluated)] == [3, 6]


def test_the_figures_are_those_of_a_plain_computation(evaluated: Sitting) -> None:
    rows = read_rows(evaluated.config, str(evaluated.config.eval_dataset)).rows
    moved = 0.0
    for event in evaluated.of(Evaluated):
        assert set(event.metrics) == FIGURES
        wanted = recomputed(evaluated, rows, f"checkpoint-{event.step}")
        found = {name: event.metrics[name] for name in wanted}
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5)
        moved += wanted["kl"]
    assert moved > 0, "z is 0 throughout, so that pooling it proves nothing"


def test_class_weights_scale_the_loss(tmp_path: Path) -> None:
    plain, weighted = (
        sit(with_rows(tmp_path / name, learning_rate=1e-9, class_weights=weights)).of(Evaluated)[0].metrics
        for name, weights in (("plain", "1:1"), ("weighted", "1:3"))
    )
    # 4 of the 9 rows are right; each loss is one half, as nothing has moved.
    assert plain["loss"] == pytest.approx(0.5, abs=1e-4)
    assert weighted["loss"] == pytest.approx(0.5 * (4 + 3 * 5) / 9, abs=1e-4)


def test_z_of_each_block_alone(tmp_path: Path, evaluated: Sitting) -> None:
    sitting = sit(with_rows(tmp_path, kl_scope="micro_batch"))
    found = [event.metrics["kl"] for event in sitting.of(Evaluated)]
    assert found != pytest.approx([event.metrics["kl"] for event in evaluated.of(Evaluated)], rel=1e-3)


def test_a_part_of_the_rows_can_be_held_out(tmp_path: Path) -> None:
    """They are trained on no more, and the figures are theirs."""
    sitting = sit(with_rows(tmp_path, eval_dataset=None, eval_fraction=0.3, save_steps=6))
    config = sitting.config
    train, held_out = split_rows(read_rows(config, str(config.dataset)).rows, 0.3, config.seed)
    assert sitting.of(DataReady)[0].examples == len(train) == 22 - len(held_out)
    assert len(held_out) == 6
    last = sitting.of(Evaluated)[-1]
    wanted = recomputed(sitting, held_out, f"checkpoint-{last.step}")
    assert {name: last.metrics[name] for name in wanted} == pytest.approx(wanted, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("changes", [{}, {"lora_dropout": 0.2, "gradient_accumulation_steps": 2}])
def test_training_does_not_notice_it(tmp_path: Path, changes: dict[str, Any]) -> None:
    runs = [
        sit(with_rows(tmp_path / name, save_steps=6, **settings, **changes))
        for name, settings in (("with", {}), ("without", {"eval_dataset": None, "eval_steps": None}))
    ]
    assert runs[0].adapter("final_model") == runs[1].adapter("final_model")
    speed = {"samples_per_second", "tokens_per_second", "gpu_memory_bytes"}
    figures = [
        [{k: v for k, v in step.metrics.items() if k not in speed} for step in run.of(StepLogged)]
        for run in runs
    ]
    assert figures[0] == figures[1]


def test_the_order_of_its_rows_does_not_matter(tmp_path: Path, evaluated: Sitting) -> None:
    """All of them count alike, also those of a last, short block."""
    lines = Path(str(evaluated.config.eval_dataset)).read_text(encoding="utf-8").splitlines()
    turned = tmp_path / "turned.jsonl"
    turned.write_text("\n".join(reversed(lines)), encoding="utf-8")
    found, wanted = (
        run.of(Evaluated)[-1].metrics
        for run in (sit(with_rows(tmp_path, eval_dataset=str(turned))), evaluated)
    )
    for name in ("rewards/chosen", "rewards/rejected", "rewards/auc", "logps/chosen"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-5, abs=1e-5)


def test_rows_of_one_label_are_evaluated_too(tmp_path: Path) -> None:
    """What would need the other label is left out."""
    lines = Path(write_rows(tmp_path / "all.jsonl", 12)).read_text(encoding="utf-8").splitlines()
    (tmp_path / "one.jsonl").write_text("\n".join(lines[1::2]), encoding="utf-8")
    sitting = sit(with_rows(tmp_path, eval_dataset=str(tmp_path / "one.jsonl"), max_steps=2))
    assert sitting.of(RunEnded)[0].status == "completed"
    metrics = sitting.of(Evaluated)[0].metrics
    assert {"loss", "kl", "rewards/chosen"} <= set(metrics)
    assert not {"rewards/rejected", "rewards/margins", "rewards/auc"} & set(metrics)


def window(sitting: Sitting, step: int) -> dict[str, Any]:
    path = sitting.output / f"checkpoint-{step}" / "accumulators.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["rewards"]
    return found


def test_trainings_own_auc_slides_over_the_steps(evaluated: Sitting) -> None:
    for step in evaluated.of(StepLogged)[1::2]:
        rows = window(evaluated, step.step)
        sides: dict[bool, list[float]] = {True: [], False: []}
        for reward, label in zip(rows["rewards"], rows["labels"], strict=True):
            sides[label].append(reward)
        wins = [(a > b) + (a == b) / 2 for a in sides[True] for b in sides[False]]
        assert step.metrics["rewards/auc"] == pytest.approx(sum(wins) / len(wins))
    assert len(window(evaluated, 6)["rewards"]) == 22


def test_the_window_goes_on_after_a_resume(tmp_path: Path, evaluated: Sitting) -> None:
    first = sit(with_rows(tmp_path), at_step(2, "stop"))  # in the middle of an evaluation
    path = str(first.output / "checkpoint-2")
    again = sit(with_rows(tmp_path, resume_from_checkpoint=path))
    assert window(again, 6) == window(evaluated, 6)
    figures = [
        [step.metrics["rewards/auc"] for step in run.of(StepLogged)][-4:] for run in (again, evaluated)
    ]
    assert figures[0] == figures[1]
