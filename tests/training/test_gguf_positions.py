"""GGUF files whose rotary positions are scaled compute what the same model in safetensors does."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFWriter, RopeScalingType
from transformers import AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from kto_tui.core.errors import UserError
from kto_tui.models.gguf_positions import scaled_positions
from kto_tui.training.sources import _convert_gguf
from tests.architectures import gguf_file
from tests.architectures.families import FAMILIES, build

PLACES = 8  # Half of a head.
IDS = torch.arange(5, 205).unsqueeze(0)  # Positions beyond every original length here.
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def model_of(family: str, **scaling: Any) -> Any:
    """A tiny model, its weights as bfloat16 has them."""
    settings = FAMILIES[family]()
    settings.rope_parameters = {**settings.rope_parameters, **scaling}
    if family == "phi3":
        settings.original_max_position_embeddings = scaling.get("original_max_position_embeddings", 256)
    return rounded(build(settings))


def rounded(model: Any) -> Any:
    for weight in model.parameters():  # And not the frequencies.
        weight.data = weight.data.bfloat16().float()
    return model


def converted(folder: Path, model: Any, add: Callable[[GGUFWriter], None]) -> Any:
    gguf_file.write(folder / "some.gguf", model, add=add)
    _convert_gguf(folder / "some.gguf", folder / "made")
    return AutoModelForCausalLM.from_pretrained(folder / "made", dtype=torch.float32)


def assert_same(made: Any, model: Any) -> None:
    with torch.no_grad():
        wanted, got = model(IDS).logits, made(IDS).logits
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4 * float(wanted.std()))


def linear(writer: GGUFWriter) -> None:
    writer.add_rope_scaling_type(RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(8.0)


def old_linear(writer: GGUFWriter) -> None:
    writer.add_float32("qwen2.rope.scale_linear", 8.0)


def factor_alone(writer: GGUFWriter) -> None:
    writer.add_rope_scaling_factor(8.0)  # llama.cpp takes it for linear.


def yarn(writer: GGUFWriter) -> None:
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_rope_scaling_orig_ctx_len(64)


def odd_yarn(writer: GGUFWriter) -> None:
    yarn(writer)
    writer.add_rope_scaling_attn_factors(0.5)
    writer.add_rope_scaling_yarn_beta_fast(16.0)
    writer.add_rope_scaling_yarn_beta_slow(2.0)


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
ODD_YARN = {
    **YARN,
    "attention_factor": 0.5 * (1 + 0.1 * math.log(4)),
    "beta_fast": 16.0,
    "beta_slow": 2.0,
}


@pytest.mark.parametrize(
    ("add", "scaling"),
    [
        (linear, {"rope_type": "linear", "factor": 8.0}),
        (old_linear, {"rope_type": "linear", "factor": 8.0}),
        (factor_alone, {"rope_type": "linear", "factor": 8.0}),
        (yarn, YARN),
        (odd_yarn, ODD_YARN),
    ],
)
def test_what_keys_say(tmp_path: Path, add: Callable[[GGUFWriter], None], scaling: dict[str, Any]) -> None:
    model = model_of("qwen2", **scaling)
    assert_same(converted(tmp_path, model, add), model)


def llama_factors(model: Any) -> Any:
    """As llama.cpp's converter makes them: by what each frequency is divided."""
    plain = 1 / model.config.rope_parameters["rope_theta"] ** (torch.arange(PLACES) / PLACES)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](model.config, torch.device("cpu"))
    return (plain / scaled).numpy().astype(np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {"original_max_position_embeddings": 8192},
        {"original_max_position_embeddings": 64},
        {
            "original_max_position_embeddings": 100,
            "low_freq_factor": 1.5,
            "high_freq_factor": 20.0,
            "factor": 32.0,
        },
    ],
)
def test_llama_s_factors(tmp_path: Path, changes: dict[str, Any]) -> None:
    """With the usual lengths one factor alone is between both ends; with others the line is found."""
    model = model_of("llama", **{**LLAMA3, **changes})
    factors = llama_factors(model)
    made = converted(tmp_path, model, lambda writer: writer.add_tensor("rope_freqs.weight", factors))
    assert_same(made, model)
    if changes["original_max_position_embeddings"] == 8192:
        found = made.config.rope_parameters
        assert {name: found[name] for name in (*LLAMA3, *changes)} == {**LLAMA3, **changes}


def test_phi_3_s_factors(tmp_path: Path) -> None:
    long, short = (np.linspace(1, end, PLACES).astype(np.float32) for end in (30, 3))
    scaling = {
        "rope_type": "longrope",
        "long_factor": long.tolist(),
        "short_factor": short.tolist(),
        "attention_factor": 1.2,
        "original_max_position_embeddings": 64,
    }

    def add(writer: GGUFWriter) -> None:
        writer.add_rope_scaling_attn_factors(1.2)
        writer.add_rope_scaling_orig_ctx_len(64)
        writer.add_tensor("rope_factors_long.weight", long)
        writer.add_tensor("rope_factors_short.weight", short)

    model = model_of("phi3", **scaling)
    made = converted(tmp_path, model, add)
    assert_same(made, model)
    with torch.no_grad():
        few = IDS[:, :40]
        torch.testing.assert_close(made(few).logits, model(few).logits, rtol=1e-4, atol=1e-4)


def test_of_gemma_3_the_layers_that_look_at_everything_are_scaled(tmp_path: Path) -> None:
    settings = FAMILIES["gemma3"]()
    settings.num_hidden_layers = 6
    settings.layer_types = [*["sliding_attention"] * 5, "full_attention"]
    whole = {**settings.rope_parameters["full_attention"], "rope_type": "linear", "factor": 8.0}
    settings.rope_parameters = {**settings.rope_parameters, "full_attention": whole}
    model = rounded(build(settings))
    made = converted(tmp_path, model, linear)
    assert_same(made, model)


def no_scaling(writer: GGUFWriter) -> None:
    writer.add_rope_scaling_type(RopeScalingType.NONE)
    writer.add_rope_scaling_factor(8.0)


def test_what_scales_nothing(tmp_path: Path) -> None:
    gguf_file.write(tmp_path / "a.gguf", model_of("qwen2"), add=no_scaling)
    ones = np.ones(PLACES, dtype=np.float32)
    gguf_file.write(
        tmp_path / "b.gguf", model_of("llama"), add=lambda w: w.add_tensor("rope_freqs.weight", ones)
    )
    assert scaled_positions(tmp_path / "a.gguf") is scaled_positions(tmp_path / "b.gguf") is None


def ragged(writer: GGUFWriter) -> None:
    factors = np.array([1, 1, 3, 2, 8, 8, 8, 8], dtype=np.float32)
    writer.add_tensor("rope_freqs.weight", factors)


def for_nothing(writer: GGUFWriter) -> None:
    writer.add_tensor("rope_freqs.weight", np.array([1, math.inf] * 4, dtype=np.float32))


def multiplied(writer: GGUFWriter) -> None:
    yarn(writer)
    writer.add_rope_scaling_yarn_log_mul(0.1)


def louder(writer: GGUFWriter) -> None:
    linear(writer)
    writer.add_rope_scaling_attn_factors(1.5)


def named_otherwise(writer: GGUFWriter) -> None:
    writer.add_rope_scaling_type(RopeScalingType.LONGROPE)


def too_few(writer: GGUFWriter) -> None:
    for name in ("long", "short"):
        writer.add_tensor(f"rope_factors_{name}.weight", np.full(6, 2.0, dtype=np.float32))


@pytest.mark.parametrize(
    ("family", "add", "says"),
    [
        ("llama", ragged, "rope_freqs.weight"),
        ("llama", for_nothing, "rope_freqs.weight"),
        ("qwen2", ragged, "rope_freqs.weight"),
        ("qwen2", multiplied, "rope.scaling.yarn_log_multiplier 0.1"),
        ("qwen2", louder, "rope.scaling.attn_factor 1.5"),
        ("qwen2", named_otherwise, "qwen2.rope.scaling.type longrope"),
        ("phi3", too_few, "12 of 16 dimensions rotated"),
    ],
)
def test_what_has_no_counterpart(
    tmp_path: Path, family: str, add: Callable[[GGUFWriter], None], says: str
) -> None:
    gguf_file.write(tmp_path / "some.gguf", model_of(family), add=add)
    with pytest.raises(UserError) as raised:
        _convert_gguf(tmp_path / "some.gguf", tmp_path / "made")
    assert f"a way that transformers does not know from GGUF ({says}" in str(raised.value)
