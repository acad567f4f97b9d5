"""What the plan says of weights, optimizers, heads and the presets."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from kto_tui.core.config import RunConfig
from kto_tui.core.resolve import resolve
from kto_tui.sizing.activations import Numbers
from kto_tui.sizing.devices import GIB, sized_gpu
from kto_tui.sizing.fitting import planned
from kto_tui.sizing.head import chunk_rows, head_bytes
from kto_tui.sizing.lengths import Lengths
from kto_tui.sizing.memory import MemoryPlan, estimate
from kto_tui.sizing.shape import ModelShape
from tests.sizing.presets import PRESETS

SHAPES = {name: ModelShape.from_config(config) for name, (config, _) in PRESETS.items()}
LONG = Lengths.at_most(2048)
SEVEN = resolve({"model_size": "7b"})


def parts(plan: MemoryPlan) -> dict[str, int]:
    return {part.name: part.bytes for part in plan.parts}


def plan_of(**changes: object) -> MemoryPlan:
    return estimate(SHAPES["7b"], msgspec.structs.replace(SEVEN, **changes), LONG, "cuda", checkpointing=True)


def test_nf4_packs_the_linear_layers_alone() -> None:
    """4.127 bits a weight: QLoRA, section 3. Embeddings, head and norms stay in bfloat16."""
    found, shape = parts(plan_of(quantization="nf4")), SHAPES["7b"]
    assert found["linear layers"] == pytest.approx(shape.linear_weights * 4.127 / 8, rel=1e-4)
    assert found["embeddings, head, norms"] == 2 * (shape.parameters - shape.linear_weights)
    assert parts(plan_of(quantization="auto")) == found
    whole = parts(plan_of(quantization="none"))
    assert whole["linear layers"] + whole["embeddings, head, norms"] == 2 * shape.parameters
    assert "unpacked weights" not in whole
    eight = parts(plan_of(quantization="int8"))["linear layers"]
    assert shape.linear_weights < eight < 1.01 * shape.linear_weights


def test_small_models_and_cpus_are_not_quantized_unasked() -> None:
    small = estimate(SHAPES["1.5b"], resolve({"model_size": "1.5b"}), LONG, "cuda")
    assert (small.storage.quantization, small.storage.dtype) == ("none", "bfloat16")
    on_cpu = estimate(SHAPES["7b"], SEVEN, LONG, "cpu")
    assert (on_cpu.storage.quantization, on_cpu.storage.dtype) == ("none", "float32")
    assert on_cpu.storage.optimizer == "adamw_torch"
    assert estimate(SHAPES["7b"], SEVEN, LONG, "old_cuda").storage.dtype == "float32"


def test_optimizer_and_gradients_are_of_the_adapter_in_float32() -> None:
    plan = plan_of(optim="adamw_torch")
    found = parts(plan)
    assert found["adapter"] == found["gradients"] == 4 * plan.trainable
    assert found["optimizer"] == 8 * plan.trainable
    packed = parts(plan_of(optim="adamw_8bit"))["optimizer"]
    assert packed == pytest.approx(2 * plan.trainable, rel=0.02)


def test_checkpointing_keeps_the_layers_inputs() -> None:
    kept = parts(estimate(SHAPES["7b"], SEVEN, LONG, "cuda", checkpointing=False))["activations"]
    again = parts(plan_of())["activations"]
    inputs = 2 * 32 * 8 * 2048 * 4096
    assert inputs < again < inputs + 3 * plan_of().trainable
    assert kept > 10 * again


def test_logits_are_made_by_the_chunk() -> None:
    assert chunk_rows(262144, 16384, "cuda") == 512
    assert chunk_rows(512, 100, "cpu") == 100
    gemma = ModelShape.from_config(PRESETS["7b"][0] | {"vocab_size": 262144, "tie_word_embeddings": True})
    logits, _ = head_bytes(gemma, 16384, "cuda", Numbers(2, copies=False, cuda=True))
    assert logits == 512 * 262144 * 6
    assert gemma.embeddings == 262144 * 4096


def test_more_rows_longer_ones_and_higher_ranks_take_more() -> None:
    total = plan_of().total_bytes
    assert plan_of(batch_size=16).total_bytes > total
    assert plan_of(lora_rank=128).total_bytes > total
    shorter = estimate(SHAPES["7b"], SEVEN, Lengths.at_most(1024), "cuda", checkpointing=True)
    assert shorter.total_bytes < total


@pytest.mark.parametrize("size", sorted(PRESETS))
def test_presets_on_the_gpus_that_they_promise(size: str) -> None:
    """As planned, for rows that fill the length. That of 1.5b fits 8 GB in smaller micro-batches alone."""
    gpu = sized_gpu(8 if size in ("0.5b", "1.5b") else 24)
    plan = planned(SHAPES[size], resolve({"model_size": size}), LONG, "cuda", gpu.available_bytes)
    assert plan.checkpointing
    assert (plan.total_bytes <= gpu.available_bytes) == (size != "1.5b")
    assert plan.total_bytes < 13 * GIB or size != "1.5b"


MIXTRAL = PRESETS["7b"][0] | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}


def mixture(changes: Mapping[str, object] | None = None, /, **settings: Any) -> MemoryPlan:
    config = RunConfig(model="m", **settings)
    shape = ModelShape.from_config({**MIXTRAL, **(changes or {})})
    return estimate(shape, config, LONG, "cuda", checkpointing=True)


def test_nf4_packs_experts_but_not_their_routers() -> None:
    shape, plan = ModelShape.from_config(MIXTRAL), mixture(quantization="nf4")
    found, one_layer = parts(plan), 3 * 8 * 4096 * 14336
    routers = 32 * 8 * 4096
    assert shape.experts == 32 * one_layer + routers
    assert found["experts"] == pytest.approx(32 * one_layer * 4.127 / 8 + 2 * routers, rel=1e-4)
    assert found["experts"] < plan.weights_bytes
    assert found["unpacked weights"] == 2 * one_layer
    assert parts(mixture(quantization="int8"))["experts"] == 2 * shape.experts


def test_experts_with_adapters_are_not_packed() -> None:
    shape = ModelShape.from_config(MIXTRAL)
    plan = mixture(quantization="nf4", lora_target_modules="q_proj,experts.down_proj")
    assert parts(plan)["experts"] == 2 * shape.experts
    assert parts(plan)["unpacked weights"] == 2 * 4096 * 4096


def test_what_comes_in_mxfp4_is_unpacked_or_packed_anew() -> None:
    published: dict[str, object] = {"quantization_config": {"quant_method": "mxfp4"}}
    assert parts(mixture(published)) == parts(mixture(quantization="nf4"))
    others: tuple[dict[str, Any], ...] = (
        {"quantization": "none"},
        {"lora_target_modules": "experts.down_proj"},
    )
    for settings in others:
        assert mixture(published, **settings).storage.quantization == "none"
        assert parts(mixture(published, **settings)) == parts(mixture(**settings | {"quantization": "none"}))
    assert mixture(published, quantization="int8").storage.quantization == "none"


def test_lengths_of_a_report() -> None:
    known = Lengths.of({"max": 300.0}, {"max": 200.0}, 1024)
    assert (known.longest, known.answer, known.origin) == (500, 200, "tokens")
    assert Lengths.of({"max": 3000.0}, {"max": 200.0}, 1024).longest == 1024
    assert Lengths.of({}, {}, 1024) == Lengths.at_most(1024)
