"""Each family of models through the worker's own path: load, pack, adapt, train, save, resume, and reload.

What the run says of its evaluation rows at the end is held against plain transformers and PEFT, which load
final_model in three lines and know nothing of heads in chunks, shared prompts and packed passes.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn.parametrize import replace_parameter_4bit
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from kto_tui.core.events import Evaluated, ModelLoaded, RunEnded
from kto_tui.training.packing import keep_differentiable
from tests.architectures.families import FAMILIES, MIXTURES, save
from tests.real_worker.harness import Sitting, sit, tiny, write_rows

STEPS, BETA = 3, 0.1
ROWS = [
    {
        "prompt": "A fairly long question to which windows are too short? ",
        "completion": "Yes.",
        "label": True,
    },
    {
        "prompt": "And a brief one? ",
        "completion": "No, not at all; it is as long as that one.",
        "label": False,
    },
]


def train(folder: Path, family: str, **changes: Any) -> Sitting:
    """Three steps of a family's model; what they say and what they come to is known to be theirs."""
    model = folder / "model"
    if not model.is_dir():
        save(model, FAMILIES[family]())
    if not (folder / "eval.jsonl").exists():
        (folder / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
        write_rows(folder / "rows.jsonl", 14)
    settings: dict[str, Any] = {
        "model": str(model),
        "eval_dataset": str(folder / "eval.jsonl"),
        "dataset": str(folder / "rows.jsonl"),
        "max_steps": STEPS,
        "save_steps": 2,
        "eval_steps": STEPS,
        "lr_scheduler_type": "constant",
        "learning_rate": 1e-2,
        "class_weights": "1:1",
        "max_length": 128,
    }
    sitting = sit(tiny(folder, **{**settings, **changes}))
    (ended,) = sitting.of(RunEnded)
    assert (ended.status, ended.error) == ("completed", None)
    return sitting


def reloaded(sitting: Sitting, packing: Any = None) -> tuple[Any, Any]:
    """The tuned model and its tokenizer as the model card says: nothing of ours is used."""
    final = sitting.output / "final_model"
    base = json.loads((final / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, quantization_config=packing)
    if isinstance(packing, BitsAndBytesConfig):
        keep_differentiable(model)  # else bitsandbytes rounds to bfloat16 where the CPU has a kernel for that
        pack_experts(model)
    return PeftModel.from_pretrained(model, final).eval(), AutoTokenizer.from_pretrained(final)


def pack_experts(model: Any) -> None:
    """What bitsandbytes has for weights of no linear layer, after they are loaded."""
    for module in list(model.modules()):
        for name in ("gate_up_proj", "down_proj"):
            if isinstance(weight := getattr(module, name, None), torch.nn.Parameter) and weight.ndim == 3:
                replace_parameter_4bit(module, name, compress_statistics=True)


def log_ratio(model: Any, prompt: list[int], answer: list[int]) -> float:
    """log π − log π_ref of the answer, in nats, from all of the model's own logits."""

    def score() -> float:
        with torch.no_grad():
            every = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].float().log_softmax(-1)
        return sum(float(every[len(prompt) + n - 1, token]) for n, token in enumerate(answer))

    tuned = score()
    with model.disable_adapter():
        return tuned - score()


def figures(model: Any, tokenizer: Any) -> dict[str, float]:
    """Loss, z and rewards of the two evaluation rows, as docs/kto.md defines them."""
    prompts = [tokenizer(row["prompt"])["input_ids"] for row in ROWS]
    answers = [tokenizer(str(row["completion"]) + tokenizer.eos_token)["input_ids"] for row in ROWS]
    chosen, rejected = (log_ratio(model, *pair) for pair in zip(prompts, answers, strict=True))
    others = [log_ratio(model, *pair) for pair in zip(prompts, answers[::-1], strict=True)]
    z = max(0.0, sum(others) / len(others))
    losses = [1 / (1 + math.exp(BETA * (chosen - z))), 1 / (1 + math.exp(BETA * (z - rejected)))]
    return {
        "loss": sum(losses) / 2,
        "kl": z,
        "rewards/chosen": BETA * chosen,
        "rewards/rejected": BETA * rejected,
    }


def assert_as_plain(sitting: Sitting, packing: Any = None) -> None:
    said = sitting.of(Evaluated)[-1]
    wanted = figures(*reloaded(sitting, packing))
    assert said.step == STEPS
    assert {name: said.metrics[name] for name in wanted} == pytest.approx(wanted, abs=1e-4, rel=1e-4)
    assert max(abs(wanted["rewards/chosen"]), abs(wanted["rewards/rejected"])) > 1e-2, "it has learned"


def adapted(sitting: Sitting) -> set[str]:
    """Last words of the layers that have got adapters, and that these have moved."""
    weights = load_file(sitting.output / "final_model" / "adapter_model.safetensors")
    assert all(bool(weight.any()) for weight in weights.values())
    count = sum(weight.numel() for weight in weights.values())
    assert sitting.of(ModelLoaded)[0].trainable_parameters == count
    return {name.split(".lora_")[0].rpartition(".")[2] for name in weights}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_goes_all_the_way(family: str, tmp_path: Path) -> None:
    whole = train(tmp_path, family)
    assert_as_plain(whole)
    heads = {"lm_head", "embed_tokens", "wte", "gate", "router", "experts"}
    assert len(adapted(whole)) >= 3
    assert not adapted(whole) & heads
    checkpoint = str(whole.output / "checkpoint-2")
    again = train(tmp_path, family, output_dir=_fresh(tmp_path), resume_from_checkpoint=checkpoint)
    assert again.adapter("final_model") == whole.adapter("final_model")
    assert again.of(Evaluated)[-1].metrics["loss"] == whole.of(Evaluated)[-1].metrics["loss"]


def _fresh(folder: Path) -> str:
    (folder / "again").mkdir()
    return str(folder / "again")


# Beside these, packing is the same in all: the rest takes a quarter of a minute.
PACKED_FIRST = ("llama", "gpt2", "qwen3_moe")


@pytest.mark.parametrize(
    "family",
    [
        family if family in PACKED_FIRST else pytest.param(family, marks=pytest.mark.slow)
        for family in FAMILIES
    ],
)
def test_a_family_in_four_bits(family: str, tmp_path: Path) -> None:
    packing = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    sitting = train(tmp_path, family, quantization="nf4")
    assert sitting.of(ModelLoaded)[0].quantization == "nf4"
    assert_as_plain(sitting, packing)
    adapted(sitting)
    if family == "qwen3_moe":
        changes = {"output_dir": _fresh(tmp_path), "gradient_checkpointing": "on"}
        checkpoint = str(sitting.output / "checkpoint-2")
        again = train(tmp_path, family, quantization="nf4", resume_from_checkpoint=checkpoint, **changes)
        assert again.adapter("final_model") == sitting.adapter("final_model")


@pytest.mark.parametrize("family", MIXTURES)
def test_experts_get_adapters_where_they_are_named(family: str, tmp_path: Path) -> None:
    names = "q_proj,experts.gate_up_proj,experts.down_proj"
    sitting = train(tmp_path, family, lora_target_modules=names)
    assert_as_plain(sitting)
    adapted(sitting)
