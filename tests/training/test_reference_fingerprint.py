"""Which base a cache belongs to: any change of it is another one, an adapter on it is not."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from kto_tui.core.config import RunConfig
from kto_tui.training.model import load_base
from kto_tui.training.reference.fingerprint import fingerprint
from kto_tui.training.tiny import build_into, build_model, build_tokenizer

Load = Callable[..., PreTrainedModel]


def silent(done: int, total: int, detail: str) -> None: ...


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    build_into(folder)
    return folder


@pytest.fixture
def load(folder: Path, tmp_path: Path) -> Load:
    """The worker's own way to a base, from a folder."""

    def load(quantization: str = "none", model: Path = folder) -> PreTrainedModel:
        config = RunConfig(model=str(model), output_dir=str(tmp_path), quantization=quantization)  # type: ignore[arg-type]
        return load_base(config, silent).model

    return load


def wrapped(model: PreTrainedModel, **changes: Any) -> PeftModel:
    settings = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **changes}
    peft = get_peft_model(model, LoraConfig(**settings))
    assert isinstance(peft, PeftModel)
    return peft


def tensors_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """All that the values come from, also what lies beside packed weights."""
    return {**dict(model.named_buffers()), **model.state_dict()}


def nudge(tensor: torch.Tensor, index: int) -> None:
    """Change one byte of one element."""
    content = tensor.detach().view(-1).view(torch.uint8)
    content[index % len(content)] ^= 1


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_one_element_of_any_weight_makes_another_base(load: Load, quantization: str) -> None:
    model = load(quantization)
    before = fingerprint(model)
    others = set()
    tensors = {name: tensor for name, tensor in tensors_of(model).items() if is_part(name)}
    for number, tensor in enumerate(tensors.values()):
        nudge(tensor, number * 997)
        others.add(fingerprint(model))
        nudge(tensor, number * 997)
        assert fingerprint(model) == before
    assert len(others | {before}) == len(tensors) + 1
    scales = {"none": "rotary_emb.inv_freq", "nf4": "nested_absmax", "int8": "SCB"}[quantization]
    assert any(name.endswith(scales) for name in tensors)


def is_part(name: str) -> bool:
    """Not what a state dict makes up on the spot, so that changing it would change nothing."""
    return not name.endswith(("bitsandbytes__nf4", "weight_format", "nested_quant_map"))


def test_the_offset_of_twice_packed_scales_counts(load: Load) -> None:
    model = load("nf4")
    before = fingerprint(model)
    state: Any = model.get_parameter("model.layers.1.mlp.up_proj.weight").quant_state  # type: ignore[attr-defined]
    state.offset += 1e-3
    assert fingerprint(model) != before
    state.offset -= 1e-3
    state.state2.code[3] += 1e-3
    assert fingerprint(model) != before


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_an_adapter_leaves_the_base_what_it_is(load: Load, quantization: str) -> None:
    model = load(quantization)
    before = fingerprint(model)
    peft = wrapped(model)
    assert fingerprint(peft) == fingerprint(model) == before
    ids = torch.arange(3, 30)[None]
    peft(ids).logits.square().sum().backward()
    for parameter in peft.parameters():
        if parameter.requires_grad:
            parameter.data.normal_()
    assert fingerprint(peft) == before
    peft.eval()(ids)
    assert fingerprint(peft) == before
    assert fingerprint(peft.unload()) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"], "target_modules": ["q_proj"]},
        {"target_modules": ["embed_tokens", "q_proj"]},
    ],
)
def test_so_do_other_kinds_of_adapters(load: Load, changes: dict[str, Any]) -> None:
    model = load()
    before = fingerprint(model)
    peft = wrapped(model, **changes)
    peft.add_adapter("second", LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False))
    for parameter in peft.parameters():
        if parameter.requires_grad:
            parameter.data.normal_()
    assert fingerprint(peft) == before


def test_an_adapter_merged_into_the_base_makes_another_one(load: Load) -> None:
    model = load()
    before = fingerprint(model)
    peft = wrapped(model, init_lora_weights=False)
    peft.merge_adapter()
    assert fingerprint(peft) != before


def test_a_layer_of_the_base_s_own_that_is_named_like_an_adapter_counts() -> None:
    model = torch.nn.ModuleDict({"lora_A": torch.nn.Linear(4, 4)})
    before = fingerprint(model)
    nudge(model["lora_A"].weight, 5)  # type: ignore[arg-type]
    assert fingerprint(model) != before


def test_the_same_files_elsewhere_are_the_same_base(load: Load, tmp_path: Path) -> None:
    build_into(tmp_path / "elsewhere")
    assert fingerprint(load(model=tmp_path / "elsewhere")) == fingerprint(load())


def test_the_same_name_with_other_weights_is_another_base(load: Load, folder: Path, tmp_path: Path) -> None:
    """As when a model is trained on and saved into its own folder."""
    place = tmp_path / "model"
    build_into(place)
    before = fingerprint(load(model=place))
    model = load(model=place)
    nudge(model.get_parameter("model.norm.weight"), 7)
    model.save_pretrained(place)
    assert fingerprint(load(model=place)) != before


def test_how_it_is_packed_makes_another_base(load: Load) -> None:
    kinds = ("none", "nf4", "int8")
    assert len({fingerprint(load(kind)) for kind in kinds} | {fingerprint(load().bfloat16())}) == 4


def test_what_the_settings_say_counts_and_where_they_came_from_does_not(load: Load) -> None:
    model = load()
    before = fingerprint(model)
    model.config._name_or_path = "another/name"
    model.config.use_cache = not model.config.use_cache
    model.config.transformers_version = "9"
    assert fingerprint(model) == before
    model.config.rope_parameters["rope_theta"] = 5e5
    assert fingerprint(model) != before


def test_extra_strings_count_each_for_itself(load: Load) -> None:
    model = load()
    lists = [(), ("",), ("a", "b"), ("ab",), ("b", "a"), ("a", "b", ""), ("atextb",)]
    assert len({fingerprint(model, *extra) for extra in lists}) == len(lists)


def test_large_weights_count_to_the_last_byte() -> None:
    """They are read in chunks; also where they do not lie in memory in one piece."""
    model = torch.nn.Module()
    model.register_buffer("large", torch.zeros(5000, 4099).T)
    names = {fingerprint(model)}
    for index in (0, 16 << 18, (16 << 18) - 1, 5000 * 4099 - 1):
        model.get_buffer("large").T.view(-1)[index] = 1.0
        names.add(fingerprint(model))
    assert len(names) == 5


def test_tied_weights_are_told_from_equal_ones_by_nothing() -> None:
    one, two = torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False)
    two.load_state_dict(one.state_dict())
    assert fingerprint(torch.nn.Sequential(one, one)) == fingerprint(torch.nn.Sequential(one, two))
    nudge(two.weight, 0)
    assert fingerprint(torch.nn.Sequential(one, one)) != fingerprint(torch.nn.Sequential(one, two))


def test_views_of_the_same_memory_are_told_apart() -> None:
    def both(first: torch.Tensor, second: torch.Tensor) -> str:
        model = torch.nn.Module()
        model.register_buffer("first", first)
        model.register_buffer("second", second)
        return fingerprint(model)

    square = torch.randn(3, 3)
    assert both(square, square.T) == both(square.clone(), square.T.clone()) != both(square, square)
    assert both(square, square[0]) == both(square.clone(), square[0].clone())


@pytest.mark.slow
def test_every_process_gives_the_same_name() -> None:
    code = (
        "from kto_tui.training.tiny import *; from kto_tui.training.reference.fingerprint import fingerprint;"
        "print(fingerprint(build_model(build_tokenizer()), 'x'))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    name = fingerprint(build_model(build_tokenizer()), "x")
    assert said.stdout.split()[-1] == name
    assert len(name) == 32
    int(name, 16)


def test_weights_that_are_not_there_are_refused() -> None:
    with torch.device("meta"):
        model = torch.nn.Linear(3, 3)
    with pytest.raises(ValueError, match=r"weight: its content cannot be read \(on the meta device\)"):
        fingerprint(model)
