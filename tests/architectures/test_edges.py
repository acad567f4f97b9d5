"""Models that are given in an unusual way, or lack something, through the worker's own path."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, Gemma3Config
from transformers.utils.quantization_config import Mxfp4Config

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.core.events import AlertRaised, ModelLoaded, RunEnded
from kto_tui.models.check import check_model
from kto_tui.training.model import load_base
from kto_tui.training.suitable import check_by_trying
from kto_tui.training.tiny import build_tokenizer
from tests.architectures import gguf_file
from tests.architectures.families import FAMILIES, SIZES, build, save
from tests.architectures.test_families import adapted, assert_as_plain, train
from tests.architectures.test_families import pack_experts as pack_nf4
from tests.real_worker.harness import sit, tiny


def load(folder: Path, **changes: Any) -> Any:
    """What load_base makes of a folder's model."""
    (folder / "out").mkdir(exist_ok=True)
    model, adapter = changes.pop("model", str(folder / "model")), changes.pop("for_adapter", None)
    config = RunConfig(model=model, output_dir=str(folder / "out"), **changes)
    return load_base(config, lambda *_: None, for_adapter=adapter)


def refusal(folder: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as raised:
        load(folder, **changes)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def edit(path: Path, **changes: Any) -> None:
    """Change entries of a JSON file; None takes one out."""
    held = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in held.items() if value is not None}))


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    with torch.no_grad():
        found = model(**tokenizer("What is it?", return_tensors="pt")).logits
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize("missing", ["pad_token", "eos_token"])
def test_a_tokenizer_that_lacks_a_token(missing: str, tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    setattr(tokenizer, missing, None)
    save(tmp_path / "model", FAMILIES["llama"](), tokenizer)
    sitting = sit(tiny(tmp_path, model=str(tmp_path / "model"), max_steps=2))
    assert sitting.exit_code == 0
    assert ["no_eos_token"] * (missing == "eos_token") == [a.kind for a in sitting.of(AlertRaised)]
    saved = AutoTokenizer.from_pretrained(sitting.output / "final_model")
    assert saved.pad_token == ("<|end|>" if missing == "pad_token" else "<|pad|>")


def test_a_tokenizer_that_lacks_both(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token = None
    save(tmp_path / "model", FAMILIES["llama"](), tokenizer)
    assert sit(tiny(tmp_path, model=str(tmp_path / "model"), max_steps=2)).exit_code == 0


def test_a_pad_token_that_the_model_does_not_know(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As it is added to a tokenizer by people who do not train the model's embeddings."""
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id == SIZES["vocab_size"]
    save(tmp_path / "model", FAMILIES["llama"](), tokenizer)
    sitting = sit(tiny(tmp_path, model=str(tmp_path / "model"), max_steps=2))
    assert sitting.exit_code == 0
    assert "1 tokens that the model has no embedding for, such as [PAD]" in caplog.text


def test_an_adapter_whose_base_is_gone(tmp_path: Path) -> None:
    first = train(tmp_path, "llama", max_steps=3)
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    given = str(first.output / "final_model")
    expected = f"--model {given} holds an adapter of {tmp_path / 'model'}, and of that: no such folder"
    assert refusal(tmp_path, model=given).startswith(expected)
    with pytest.raises(UserError, match="and of that: no such folder"):
        check_model(given)


def test_an_adapter_of_another_base(tmp_path: Path) -> None:
    first = train(tmp_path, "llama", max_steps=3)
    final = first.output / "final_model"
    (tmp_path / "x").mkdir()
    for base, layers in (("llama", 1), ("gpt2", 2)):
        settings = FAMILIES[base]()
        settings.num_hidden_layers = layers
        other = save(tmp_path / f"{base}{layers}", settings)
        edit(final / "adapter_config.json", base_model_name_or_path=str(other))
        said = refusal(tmp_path / "x", model=str(final))
        assert said.startswith(f"--model {final} holds an adapter that does not fit its base")


def in_a_bin_file(adapter: Path) -> None:
    """As older programs write adapters: those are merged."""
    weights = adapter / "adapter_model.safetensors"
    torch.save(load_file(weights), adapter / "adapter_model.bin")
    weights.unlink()


def small_adapter(folder: Path, base: Path, scale: float = 1e-6) -> Path:
    """What a run at a small rate leaves: changes of some millionths."""
    settings = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), settings)
        for name, weight in tuned.named_parameters():
            if "lora_" in name:
                weight.data = torch.randn_like(weight) * scale**0.5
    tuned.peft_config["default"].base_model_name_or_path = str(base)
    tuned.save_pretrained(str(folder))
    return folder


def bfloat16_base(folder: Path) -> Path:
    build(FAMILIES["llama"]()).bfloat16().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return folder


def test_a_merged_adapter_of_small_changes_is_not_rounded_away(tmp_path: Path) -> None:
    """bfloat16 would keep next to nothing of it, and four bits would bury it."""
    base = bfloat16_base(tmp_path / "base")
    given = str(small_adapter(tmp_path / "adapter", base))
    in_a_bin_file(tmp_path / "adapter")
    loaded = load(tmp_path, model=given)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "base_model").dtype == torch.float32
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    bare = logits(plain, build_tokenizer())
    wanted = logits(PeftModel.from_pretrained(plain, given), build_tokenizer())
    got = logits(loaded.model, loaded.tokenizer)
    assert (got - wanted).norm() < 0.1 * (wanted - bare).norm()
    assert loaded.alerts == ()
    for changes in ({"dtype": "bfloat16"}, {"quantization": "nf4"}, {"quantization": "int8"}):
        (alert,) = load(tmp_path, model=given, **changes).alerts
        assert alert.kind == "adapter_rounded"
        assert f"{next(iter(changes.values()))} rounds its weights by" in alert.message


def test_a_merged_adapter_of_large_changes_stays_in_the_base_s_dtype(tmp_path: Path) -> None:
    given = str(small_adapter(tmp_path / "adapter", bfloat16_base(tmp_path / "base"), scale=1.0))
    in_a_bin_file(tmp_path / "adapter")
    assert load(tmp_path, model=given, dtype="bfloat16").alerts == ()
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "base_model").dtype == torch.bfloat16


def drop(weights: Path, word: str) -> None:
    """Take the first tensor out whose name has this word."""
    held = load_file(weights)
    del held[next(name for name in sorted(held) if word in name)]
    save_file(held, weights, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("place", "word"), [("adapter/adapter_model", "lora_B"), ("base/model", "mlp.up_proj")]
)
def test_an_adapter_or_its_base_that_lacks_weights(place: str, word: str, tmp_path: Path) -> None:
    """They would be made up: nothing for the adapter, noise for the base."""
    adapter = small_adapter(tmp_path / "adapter", bfloat16_base(tmp_path / "base"))
    drop(tmp_path / f"{place}.safetensors", word)
    said = refusal(tmp_path, model=str(adapter))
    assert "no weights for" in said
    assert word in said


def test_weights_that_were_packed_before(tmp_path: Path) -> None:
    save(tmp_path / "whole", FAMILIES["llama"]())
    packing = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    packed = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", quantization_config=packing)
    packed.save_pretrained(tmp_path / "model")
    build_tokenizer().save_pretrained(tmp_path / "model")
    sitting = train(tmp_path, "llama")
    assert sitting.of(ModelLoaded)[0].quantization == "bitsandbytes"
    assert load(tmp_path, quantization="nf4").alerts == ()
    assert "came packed as bitsandbytes, and stay so" in load(tmp_path, quantization="none").alerts[0].message
    assert_as_plain(sitting, packing)
    (tmp_path / "x").mkdir()
    final = sitting.output / "final_model"
    assert load(tmp_path / "x", model=str(final)).adapter is not None
    in_a_bin_file(final)
    (tmp_path / "y").mkdir()
    said = refusal(tmp_path / "y", model=str(final))
    assert "holds an adapter of packed weights (bitsandbytes)" in said


def test_weights_of_gpt_oss_as_they_are_published(tmp_path: Path) -> None:
    """Experts in MXFP4 have no gradient: they are unpacked, or packed anew, one weight after the other."""
    save(tmp_path / "whole", FAMILIES["gpt_oss"]())
    pack_experts(tmp_path / "whole", tmp_path / "model")
    plain = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", quantization_config=Mxfp4Config(dequantize=True), dtype=torch.float32
    )
    assert plain.model.layers[0].mlp.experts.down_proj.dtype is torch.float32
    sitting = train(tmp_path, "gpt_oss")
    assert sitting.of(ModelLoaded)[0].quantization == "none"
    assert "came packed as mxfp4, and are unpacked" in load(tmp_path, quantization="int8").alerts[0].message
    assert_as_plain(sitting, Mxfp4Config(dequantize=True))
    experts = "experts.down_proj"
    assert load(tmp_path, quantization="nf4", lora_target_modules=experts).quantization == "none"
    base = load(tmp_path, quantization="nf4")
    assert (base.quantization, base.alerts) == ("nf4", ())
    pack_nf4(plain)
    for layer, wanted in zip(base.model.model.layers, plain.model.layers, strict=True):
        assert layer.self_attn.q_proj.weight.dtype is torch.uint8
        for name in ("gate_up_proj", "down_proj", "gate_up_proj_bias"):
            assert torch.equal(getattr(layer.mlp.experts, name), getattr(wanted.mlp.experts, name))


def pack_experts(whole: Path, packed: Path) -> None:
    """Random experts: (experts, out, in / 32, 16) bytes, two halves of 4 bits, an exponent for each 32."""
    packed.mkdir()
    weights = load_file(whole / "model.safetensors")
    for name in [name for name in weights if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, width, out = weights.pop(name).shape
        draw = torch.Generator().manual_seed(len(name))
        size = (experts, out, width // 32, 16)
        weights[f"{name}_blocks"] = torch.randint(0, 256, size, generator=draw, dtype=torch.uint8)
        weights[f"{name}_scales"] = torch.full(size[:3], 124, dtype=torch.uint8)
    save_file(weights, packed / "model.safetensors", metadata={"format": "pt"})
    for path in whole.iterdir():
        if path.suffix != ".safetensors":
            (packed / path.name).write_bytes(path.read_bytes())
    edit(packed / "config.json", quantization_config={"quant_method": "mxfp4"})


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_gguf_file(as_folder: bool, tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    model = build(FAMILIES["qwen2"]())
    gguf_file.write(tmp_path / "held" / "some.gguf", model)
    given = str(tmp_path / "held" if as_folder else tmp_path / "held" / "some.gguf")
    check_model(given)
    if as_folder:
        base = load(tmp_path, model=given)
        assert (base.source.label, base.source.own_copy) == ("GGUF file some.gguf", True)
        for weight in model.parameters():
            weight.data = weight.data.bfloat16().float()
        expected = logits(model, build_tokenizer())
        torch.testing.assert_close(logits(base.model, base.tokenizer), expected, rtol=1e-4, atol=1e-4)
    else:
        assert_as_plain(train(tmp_path, "qwen2", model=given))


def test_a_gguf_file_that_is_damaged(tmp_path: Path) -> None:
    gguf_file.write(tmp_path / "some.gguf", build(FAMILIES["qwen2"]()))
    whole = (tmp_path / "some.gguf").read_bytes()
    for kept in (30, 3000, len(whole) - 5000):
        (tmp_path / "some.gguf").write_bytes(whole[:kept])
        said = refusal(tmp_path, model=str(tmp_path / "some.gguf"))
        assert said.startswith(f"--model {tmp_path / 'some.gguf'}: it cannot be read; ")


def test_a_gguf_file_that_lacks_a_tensor(tmp_path: Path) -> None:
    """Ways of scaling positions are in tests/training/test_gguf_positions.py."""
    gguf_file.write(tmp_path / "some.gguf", build(FAMILIES["qwen2"]()), without="blk.1.attn_q.weight")
    said = "its files have no weights for model.layers.1.self_attn.q_proj"
    assert said in refusal(tmp_path, model=str(tmp_path / "some.gguf"))


def test_weights_in_a_bin_file(tmp_path: Path) -> None:
    """They are read as tensors: no object of another kind is ever made of them."""
    save(tmp_path / "model", FAMILIES["llama"]())
    weights = tmp_path / "model" / "model.safetensors"
    torch.save(load_file(weights), tmp_path / "model" / "pytorch_model.bin")
    weights.unlink()
    assert_as_plain(train(tmp_path, "llama"))

    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    torch.save({"model.embed_tokens.weight": Trap()}, tmp_path / "model" / "pytorch_model.bin")
    (tmp_path / "x").mkdir()
    assert "it cannot be loaded" in refusal(tmp_path / "x", model=str(tmp_path / "model"))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("place", ["config.json", "tokenizer_config.json"])
def test_code_of_its_own_is_not_run(place: str, tmp_path: Path) -> None:
    save(tmp_path / "model", FAMILIES["llama"]())
    (tmp_path / "model" / "code.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    if place == "config.json":
        classes = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
        edit(tmp_path / "model" / place, model_type="odd", auto_map=classes)
    else:
        changes = {"tokenizer_class": "Odd", "auto_map": {"AutoTokenizer": ["code.Odd", None]}}
        edit(tmp_path / "model" / place, **changes)
    assert "it needs code from its own folder (auto_map in its settings)" in refusal(tmp_path)
    assert not (tmp_path / "sprung").exists()


SMALL: dict[str, Any] = {
    "initializer_range": 0.5,
    "vocab_size": 261,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 16,
}
NO_CAUSAL_MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "t5": (
        lambda: transformers.T5Config(vocab_size=261, d_model=16, num_layers=1),
        "an encoder-decoder",
    ),
    "bert": (
        lambda: transformers.BertConfig(**SMALL, num_hidden_layers=1),
        "what it says of a token depends on later ones (bert)",
    ),
    "siglip": (lambda: transformers.SiglipVisionConfig(), "siglip_vision_model is no causal language model"),
    "qwen2_vl": (
        lambda: transformers.Qwen2VLConfig(),
        "reads more than text (qwen2_vl), and transformers has no way to load its text part alone",
    ),
}


@pytest.mark.parametrize("kind", NO_CAUSAL_MODELS)
def test_models_of_another_kind(kind: str, tmp_path: Path) -> None:
    build_config, expected = NO_CAUSAL_MODELS[kind]
    save(tmp_path / "model", FAMILIES["llama"]())
    if kind == "bert":
        save(tmp_path / "model", build_config())
    else:
        build_config().save_pretrained(tmp_path / "model")
    assert expected in refusal(tmp_path)
    if kind == "t5":
        with pytest.raises(UserError, match="an encoder-decoder"):
            check_model(str(tmp_path / "model"))


def test_of_a_model_that_sees_the_part_that_reads_is_trained(tmp_path: Path) -> None:
    text = {**SIZES, "head_dim": 16, "sliding_window": 24}
    seen: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    settings = Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**text),
        vision_config=transformers.SiglipVisionConfig(**seen, image_size=32, patch_size=16),
        mm_tokens_per_image=4,
    )
    save(tmp_path / "model", settings)
    sitting = train(tmp_path, "gemma3")
    assert_as_plain(sitting)
    adapted(sitting)
    weights = load_file(sitting.output / "final_model" / "adapter_model.safetensors")
    assert all(".language_model.layers." in name for name in weights)


def test_packages_that_unpack_are_named(tmp_path: Path) -> None:
    save(tmp_path / "model", FAMILIES["llama"]())
    edit(tmp_path / "model" / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    said = refusal(tmp_path)
    assert said == f"--model {tmp_path / 'model'}: packed as gptq, which needs pip install optimum gptqmodel"


def test_weights_that_do_not_fit_their_settings(tmp_path: Path) -> None:
    save(tmp_path / "model", FAMILIES["llama"]())
    edit(tmp_path / "model" / "config.json", num_hidden_layers=3, layer_types=None)
    assert "its files have no weights for model.layers.2.input_layernorm.weight and 8 more" in refusal(
        tmp_path
    )
    edit(tmp_path / "model" / "config.json", num_hidden_layers=2, intermediate_size=32)
    assert "its weights are of other sizes than its config.json" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("config.json", {"num_hidden_layers": "two"}),
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"hidden_act": "nope"}),
        ("config.json", {"rope_parameters": {"rope_type": "nope"}}),
        ("config.json", {"quantization_config": 3}),
        ("config.json", {"model_type": "unheard_of"}),
        ("tokenizer.json", {"added_tokens": 3}),
        ("tokenizer_config.json", {"eos_token": 5}),
    ],
)
def test_damaged_settings(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    save(tmp_path / "model", FAMILIES["llama"]())
    edit(tmp_path / "model" / name, **changes)
    assert refusal(tmp_path).startswith(f"--model {tmp_path / 'model'}: it cannot be loaded; ")


def test_a_model_that_gives_no_numbers(tmp_path: Path) -> None:
    model = build(FAMILIES["llama"]())
    model.model.norm.weight.data[3] = float("nan")
    with pytest.raises(UserError, match="m: it gives no finite numbers in float32; try another --dtype"):
        check_by_trying("m", model, build_tokenizer())


def test_a_model_that_does_more_with_its_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(FAMILIES["llama"]())
    plain = model.forward

    def cubed(*args: Any, **inputs: Any) -> Any:
        outputs = plain(*args, **inputs)
        outputs.logits = outputs.logits**3
        return outputs

    monkeypatch.setattr(model, "forward", cubed)
    with pytest.raises(UserError, match="llama makes its logits in a way that is not known here"):
        check_by_trying("m", model, build_tokenizer())


def test_a_layer_that_is_not_there_is_told_before_weights_are_loaded(tmp_path: Path) -> None:
    save(tmp_path / "model", FAMILIES["llama"]())
    (tmp_path / "model" / "model.safetensors").write_bytes(b"no weights")
    assert "the model has no 'query'" in refusal(tmp_path, lora_target_modules="query")
    assert "it cannot be loaded" in refusal(tmp_path)


def test_a_wrong_model_ends_the_run_in_one_line(tmp_path: Path) -> None:
    save(tmp_path / "model", transformers.BertConfig(**SMALL, num_hidden_layers=1))
    (ended,) = sit(tiny(tmp_path, model=str(tmp_path / "model"))).of(RunEnded)
    assert (ended.exit_code, ended.status) == (2, "failed")
    assert "depends on later ones" in str(ended.error)
