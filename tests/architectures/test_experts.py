"""Experts in NF4: what they compute, what their gradients are, and how much of them is unpacked at once."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.autograd.profiler import profile
from torch.nn.utils import parametrize

from kto_tui.core.errors import UserError
from kto_tui.training.loading import attached
from kto_tui.training.reference.fingerprint import fingerprint
from kto_tui.training.targets import all_parameters, stacked
from tests.architectures.families import FAMILIES, MIXTURES, save
from tests.architectures.test_edges import load

IDS = torch.arange(24).view(2, 12) * 7 % 250


def rounded(model: Any) -> Any:
    """Every weight that NF4 packs, as it comes back."""
    head = model.get_output_embeddings()
    linear = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    for weight in (*linear, *(model.get_parameter(name) for name in stacked(model))):
        packed, state = quantize_4bit(weight.data, quant_type="nf4", compress_statistics=True)
        weight.data = dequantize_4bit(packed, state)
    return model


def passed(model: Any) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient that reaches the embedded tokens through all layers."""
    embedded = model.get_input_embeddings()(IDS).detach().requires_grad_()
    logits = model.train()(inputs_embeds=embedded, use_cache=False).logits
    logits.float().log_softmax(-1)[..., 3].sum().backward()
    assert embedded.grad is not None
    return logits.detach(), embedded.grad


def checkpointed(model: Any) -> Any:
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def memory(work: Callable[[], object]) -> tuple[int, int]:
    """Bytes that torch gave for what is still held after it, and at the most."""
    with profile(profile_memory=True) as seen:
        kept = work()
    found = ((e.start_ns(), place, e) for place, e in enumerate(seen.kineto_results.events()))
    total = most = 0
    for *_, event in sorted(found, key=lambda each: each[:2]):
        total += event.nbytes() if event.name() == "[memory]" else 0
        most = max(most, total)
    del kept
    return total, most


@pytest.mark.parametrize("family", MIXTURES)
def test_packed_experts_compute_what_their_rounded_weights_do(family: str, tmp_path: Path) -> None:
    save(tmp_path / "model", FAMILIES[family]())
    plain = load(tmp_path, quantization="none").model
    names = stacked(plain)
    packed = load(tmp_path, quantization="nf4").model
    assert stacked(packed) == names
    assert all_parameters(packed) == all_parameters(plain) == plain.num_parameters()
    whole = {name for name, weight in packed.named_parameters() if weight.is_floating_point()}
    assert not whole & set(names)
    assert {
        n for n in dict(plain.named_parameters()) if "gate." in n or "router" in n or "bias" in n
    } <= whole
    wanted = passed(rounded(plain))
    for found in (passed(packed), passed(checkpointed(packed))):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def wide(folder: Path, layers: int) -> Path:
    """A mixture of which all but a little are experts, so many layers of them."""
    config = FAMILIES["mixtral"]()
    config.num_hidden_layers, config.num_local_experts, config.intermediate_size = layers, 16, 128
    return save(folder / "model", config)


LAYER = 16 * 3 * 128 * 64 * 4  # Bytes of a layer's experts, unpacked.


@pytest.mark.parametrize("ready", [lambda model: model, checkpointed], ids=["kept", "checkpointed"])
def test_no_layers_unpacked_experts_are_kept_for_the_way_back(ready: Any, tmp_path: Path) -> None:
    wide(tmp_path, 4)
    model = ready(load(tmp_path, quantization="nf4").model)
    passed(model)  # What is made once is there.
    held, most = memory(partial(model.train(), input_ids=IDS, use_cache=False))
    assert held < LAYER / 2
    assert most < 1.5 * LAYER
    assert memory(partial(passed, model))[1] < 2 * LAYER


def test_one_weight_at_a_time_is_unpacked_as_they_are_loaded(tmp_path: Path) -> None:
    """What bitsandbytes needs for one weight on a CPU, however many layers there are."""
    above = []
    for layers in (2, 10):
        folder = tmp_path / str(layers)
        folder.mkdir()
        wide(folder, layers)
        held, most = memory(partial(load, folder, quantization="nf4"))
        above.append(most - held)
    assert above[1] < above[0] + LAYER


def test_the_fingerprint_of_packed_experts_has_their_scales(tmp_path: Path) -> None:
    save(tmp_path / "model", FAMILIES["olmoe"]())
    model = load(tmp_path, quantization="nf4").model
    name = fingerprint(model)
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    assert fingerprint(tuned) == name
    model.model.layers[1].mlp.experts.parametrizations.down_proj[0].quant_state.state2.absmax *= 2
    assert fingerprint(tuned) != name


def test_experts_with_adapters_stay_unpacked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "model", FAMILIES["olmoe"]())
    settings = {"quantization": "nf4", "lora_target_modules": "q_proj,experts.down_proj"}
    model = load(tmp_path, **settings).model
    assert not any(map(parametrize.is_parametrized, model.modules()))
    assert model.model.layers[0].self_attn.q_proj.weight.dtype is torch.uint8
    assert "393 kB, stay unpacked: adapters go on them" in caplog.text


def test_an_adapter_of_experts_is_not_put_on_packed_ones(tmp_path: Path) -> None:
    save(tmp_path / "model", FAMILIES["olmoe"]())
    plain = load(tmp_path, quantization="none").model
    config = LoraConfig(r=2, target_modules=["q_proj"], target_parameters=["experts.down_proj"])
    get_peft_model(plain, config).save_pretrained(tmp_path / "adapter")
    base = load(tmp_path, quantization="nf4")
    assert base.targets.parameters == []
    with pytest.raises(UserError, match="the adapter is one of experts, which are packed here"):
        attached("the adapter", base.model, tmp_path / "adapter")
    fit = load(tmp_path, quantization="nf4", for_adapter=tmp_path / "adapter").model
    attached("the adapter", fit, tmp_path / "adapter")
