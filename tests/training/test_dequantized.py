"""Models that came packed, unpacked: the weights that a run on them computes with, as any other model."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils.quantization_config import FineGrainedFP8Config

from kto_tui.core.errors import UserError
from kto_tui.core.events import AlertRaised, ModelLoaded
from kto_tui.training.dequantized import plain_model
from kto_tui.training.packing import keep_differentiable
from tests.architectures.families import FAMILIES, save
from tests.architectures.test_edges import edit, pack_experts
from tests.architectures.test_families import assert_as_plain, train

IDS = torch.arange(10, 30).unsqueeze(0)


def assert_plain(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Saved, it is a model of plain weights that computes the same."""
    model = plain_model("m", folder / "packed", dtype)
    assert {weight.dtype for weight in model.parameters()} == {dtype}
    model.save_pretrained(folder / "plain")
    assert "quantization_config" not in json.loads((folder / "plain" / "config.json").read_text())
    again = AutoModelForCausalLM.from_pretrained(folder / "plain", dtype="auto")
    with torch.no_grad():
        torch.testing.assert_close(again(IDS).logits, model(IDS).logits, atol=0, rtol=0)
    return model


def test_four_bits_of_bitsandbytes(tmp_path: Path) -> None:
    """To the last digit what the packed model computes with."""
    whole = save(tmp_path / "whole", FAMILIES["llama"]())
    packing = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    packed = AutoModelForCausalLM.from_pretrained(whole, quantization_config=packing)
    packed.save_pretrained(tmp_path / "packed")
    keep_differentiable(packed)
    with torch.no_grad():
        wanted = packed(IDS).logits
        torch.testing.assert_close(assert_plain(tmp_path)(IDS).logits, wanted, atol=1e-5, rtol=1e-5)
    assert_plain(tmp_path, torch.bfloat16)


def test_eight_bits_of_bitsandbytes(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole", FAMILIES["llama"]())
    packing = BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    AutoModelForCausalLM.from_pretrained(whole, quantization_config=packing).save_pretrained(
        tmp_path / "packed"
    )
    got, wanted = (
        model.model.layers[1].mlp.up_proj.weight for model in (assert_plain(tmp_path), load(whole))
    )
    step = wanted.abs().amax(-1, keepdim=True) / 127
    assert bool(((got - wanted).abs() <= 0.6 * step).all())


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_four_bits_of_gpt_oss(tmp_path: Path) -> None:
    save(tmp_path / "whole", FAMILIES["gpt_oss"]())
    pack_experts(tmp_path / "whole", tmp_path / "packed")
    model = assert_plain(tmp_path)
    assert model.model.layers[0].mlp.experts.down_proj.unique().numel() == 15  # -0 and 0 are one.


def test_eight_bits_in_blocks(tmp_path: Path) -> None:
    save(tmp_path / "whole", FAMILIES["llama"]())
    shutil.copytree(tmp_path / "whole", tmp_path / "packed")
    weights, wanted = load_file(tmp_path / "whole" / "model.safetensors"), {}
    for name in [name for name in weights if name.endswith("_proj.weight")]:
        scale = weights[name].abs().amax() / 448
        weights[name] = (weights[name] / scale).to(torch.float8_e4m3fn)
        weights[f"{name}_scale_inv"] = scale.reshape(1, 1)
        wanted[name] = weights[name].float() * scale
    save_file(weights, tmp_path / "packed" / "model.safetensors", metadata={"format": "pt"})
    packing = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
    edit(tmp_path / "packed" / "config.json", quantization_config=packing)
    got = dict(assert_plain(tmp_path).named_parameters())
    assert all(bool((got[name] == wanted[name]).all()) for name in wanted)
    # No gradient passes it, so that a run unpacks it, too.
    (tmp_path / "packed").rename(tmp_path / "model")
    sitting = train(tmp_path, "llama", quantization="nf4")
    assert sitting.of(ModelLoaded)[0].quantization == "none"
    (alert,) = sitting.of(AlertRaised)
    assert "the weights came packed as fp8, and are unpacked" in alert.message
    assert_as_plain(sitting, FineGrainedFP8Config(dequantize=True))


def test_what_is_not_unpacked_here(tmp_path: Path) -> None:
    save(tmp_path / "m", FAMILIES["llama"]())
    edit(tmp_path / "m" / "config.json", quantization_config={"quant_method": "gptq"})
    with pytest.raises(UserError, match="m: its base is packed as gptq, and has no plain weights to merge"):
        plain_model("m", tmp_path / "m", torch.float32)
