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
        (("config.json", "tokenizer.json", "a.gguf"), "the folder has its weights as GGUF alone"),
        (("a.gguf",), "the folder has its weights as GGUF alone"),
        (("adapter_config.json", "adapter_model.safetensors"), "holds a LoRA adapter"),
    ],
)
def test_folder_that_lacks_a_part(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        check_model(folder(tmp_path / "model", *names))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    with pytest.raises(UserError, match=r"model\.gguf is a file; expected the folder"):
        check_model(str(tmp_path / "model.gguf"))


@pytest.mark.parametrize("name", ["./gone", "/gone/model", "~/gone", "a/b/c", "", "/" + "x" * 300])
def test_missing_folder(name: str) -> None:
    with pytest.raises(UserError, match="no such folder"):
        check_model(name)
