import json
from pathlib import Path

import pytest

from kto_tui.core.compatibility import check_adapter
from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError


def checkpoint(tmp_path: Path, model: str = "org/name", rank: int = 8, alpha: int = 32) -> Path:
    folder = tmp_path / "checkpoint-5"
    folder.mkdir()
    content = {"base_model_name_or_path": model, "r": rank, "lora_alpha": alpha}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    return folder


def test_the_same_model_rank_and_alpha_pass(tmp_path: Path) -> None:
    check_adapter(checkpoint(tmp_path), RunConfig(model="org/name", lora_rank=8))


def test_two_spellings_of_one_folder_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = checkpoint(tmp_path, model=str(tmp_path / "base"))
    check_adapter(folder, RunConfig(model="./base", lora_rank=8))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (RunConfig(model="org/other", lora_rank=8), "it adapts org/name, not org/other"),
        (RunConfig(model="org/name", lora_rank=16), "its LoRA rank is 8, not 16; resume with --lora-rank 8"),
        (
            RunConfig(model="org/name", lora_rank=8, lora_alpha=16),
            "its LoRA alpha is 32, not 16; resume with --lora-alpha 32",
        ),
    ],
)
def test_another_model_rank_or_alpha_is_refused(tmp_path: Path, config: RunConfig, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_adapter(checkpoint(tmp_path), config)


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no readable adapter_config.json; expected a checkpoint-N"):
        check_adapter(tmp_path, RunConfig(model="org/name"))


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        check_adapter(tmp_path, RunConfig(model="org/name"))


@pytest.mark.parametrize(("key", "value"), [("r", "8"), ("r", 8.0), ("r", True), ("lora_alpha", None)])
def test_a_rank_or_alpha_that_is_no_number(tmp_path: Path, key: str, value: object) -> None:
    folder = checkpoint(tmp_path)
    content = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**content, key: value}))
    with pytest.raises(UserError, match=rf"adapter_config\.json: found .* at {key}; expected a whole number"):
        check_adapter(folder, RunConfig(model="org/name", lora_rank=8))
