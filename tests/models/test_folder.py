"""Model folders, looked at before anything is created."""

import json
from pathlib import Path

import pytest

from kto_tui.core.errors import UserError
from kto_tui.models.check import check_model

INDEX = "model.safetensors.index.json"


def folder(path: Path, *names: str) -> str:
    path.mkdir()
    for name in names:
        (path / name).touch()
    return str(path)


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_whole_folder(tmp_path: Path, weights: str) -> None:
    check_model(folder(tmp_path / "model", "config.json", "tokenizer.json", weights, "also.gguf"))


def test_builtin_model() -> None:
    check_model("builtin:tiny")


def test_shards(tmp_path: Path) -> None:
    model = folder(tmp_path / "model", "config.json", "tokenizer.json", "model-1.safetensors")
    index = tmp_path / "model" / INDEX
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    check_model(model)
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    with pytest.raises(UserError, match=r"the folder has no model-2\.safetensors; expected"):
        check_model(model)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "\xff"],
)
def test_broken_index(tmp_path: Path, text: str) -> None:
    model = folder(tmp_path / "model", "config.json", "tokenizer.json")
    (tmp_path / "model" / INDEX).write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"the folder has a broken model\.safetensors\.index\.json; expected"):
        check_model(model)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), "the folder has no config.json"),
        (("config.json", "model.safetensors"), "the folder has no tokenizer files"),
        (("config.json", "tokenizer.json"), "the folder has no weights"),
        (("adapter_config.json", "adapter_model.safetensors"), "adapter_config.json names no base"),
        (("a.gguf", "b.gguf"), "holds 2 GGUF files; name one of them: a.gguf, b.gguf"),
        (("a.gguf",), r"a\.gguf: no GGUF file, whatever its name says"),
        (("a-00001-of-00002.gguf",), "a GGUF file in pieces; join it with llama-gguf-split"),
    ],
)
def test_folder_that_lacks_a_part(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        check_model(folder(tmp_path / "model", *names))


@pytest.mark.parametrize("name", ["model.gguf", "some model.gguf"])
def test_gguf(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_bytes(b"GGUF\3\0\0\0")
    for given in (tmp_path, tmp_path / name):
        check_model(str(given))
    monkeypatch.setattr("kto_tui.models.folder.GGUF_READER", "no_such_package")
    for given in (tmp_path, tmp_path / name):
        with pytest.raises(UserError, match=f"{name}: reading GGUF needs a package; pip install gguf"):
            check_model(str(given))


def test_another_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="is a file; expected a folder that holds a model, or a GGUF file"):
        check_model(str(tmp_path / "model.safetensors"))


ADAPTER = {"base_model_name_or_path": "builtin:tiny", "peft_type": "LORA"}


def adapter(path: Path, *names: str, **changes: object) -> str:
    given = folder(path, *names)
    (path / "adapter_config.json").write_text(json.dumps(ADAPTER | changes))
    return given


def test_adapters(tmp_path: Path) -> None:
    """Of a model that is there; of another adapter; beside the whole model that it became part of."""
    check_model(adapter(tmp_path / "a", "adapter_model.safetensors"))
    check_model(adapter(tmp_path / "b", "adapter_model.bin", base_model_name_or_path=str(tmp_path / "a")))
    whole = ("config.json", "tokenizer.json", "model.safetensors")
    check_model(adapter(tmp_path / "c", *whole, base_model_name_or_path="/nowhere"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"base_model_name_or_path": None}, "names no base; name it there"),
        ({"base_model_name_or_path": 7}, "names no base; name it there"),
        ({"peft_type": "PROMPT_TUNING"}, "an adapter of kind 'PROMPT_TUNING'; expected LORA"),
        (
            {"base_model_name_or_path": "/nowhere"},
            "holds an adapter of /nowhere, and of that: no such folder",
        ),
    ],
)
def test_adapters_that_are_refused(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError, match=expected) as raised:
        check_model(adapter(tmp_path / "a", "adapter_model.safetensors", **changes))
    assert str(raised.value).startswith(f"--model {tmp_path / 'a'} holds an adapter")


def test_an_adapter_without_weights_and_one_of_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"an adapter without adapter_model\.safetensors; copy it there"):
        check_model(adapter(tmp_path / "a"))
    own = str(tmp_path / "b")
    with pytest.raises(UserError, match="an adapter of an adapter of an adapter, and on"):
        check_model(adapter(tmp_path / "b", "adapter_model.safetensors", base_model_name_or_path=own))


def test_a_run_is_no_model_but_holds_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds a run; give .*/run/final_model, or one of its checkpoints"):
        check_model(folder(tmp_path / "run", "run.yaml"))


def test_kinds_that_are_known_by_their_settings(tmp_path: Path) -> None:
    given = folder(tmp_path / "model", "tokenizer.json", "model.safetensors")
    settings = tmp_path / "model" / "config.json"
    settings.write_text(json.dumps({"is_encoder_decoder": True}))
    with pytest.raises(UserError, match="an encoder-decoder; expected a model that continues a text"):
        check_model(given)
    settings.write_text(json.dumps({"quantization_config": {"quant_method": "awq"}}))
    with pytest.raises(UserError, match="packed as awq, which needs pip install gptqmodel"):
        check_model(given)
    for packing in ({"quant_method": "bitsandbytes"}, {"load_in_4bit": True}, {"quant_method": "fp8"}):
        settings.write_text(json.dumps({"quantization_config": packing}))
        check_model(given)


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("gptq", "packed as gptq, which needs pip install optimum gptqmodel"),
        ("compressed-tensors", "packed as compressed-tensors, which needs pip install compressed-tensors"),
        ("auto-round", "packed as auto-round, through which no gradient passes; choose the unpacked model"),
        ("exl2", "packed as exl2, which transformers does not load; choose the unpacked model"),
    ],
)
def test_ways_of_packing_that_are_refused(tmp_path: Path, method: str, says: str) -> None:
    """Of one that it does not know, transformers would make up all that is packed."""
    given = folder(tmp_path / "model", "tokenizer.json", "model.safetensors")
    settings = {"quantization_config": {"quant_method": method}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError) as raised:
        check_model(given)
    assert str(raised.value) == f"--model {given}: {says}"


@pytest.mark.parametrize("name", ["./gone", "/gone/model", "~/gone", "a/b/c", "", "/" + "x" * 300])
def test_missing_folder(name: str) -> None:
    with pytest.raises(UserError, match="no such folder"):
        check_model(name)
