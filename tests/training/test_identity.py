"""By which names a resume notices another base or other rows."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.training.identity import base_fingerprint, require_same, resolved


def base(folder: Path, *, changed: bool = False, saver: str = "5.23", kind: str = "llama") -> Path:
    folder.mkdir(exist_ok=True)
    tensors = {name: np.full((64, 64), place, np.float32) for place, name in enumerate("abc")}
    tensors["b"][10:54] += changed
    save_file(tensors, folder / "model.safetensors")
    content = {"model_type": kind, "transformers_version": saver}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def test_the_same_base_has_one_name(tmp_path: Path) -> None:
    assert base_fingerprint(base(tmp_path / "one")) == base_fingerprint(base(tmp_path / "two", saver="6.0"))


def test_another_base_has_another(tmp_path: Path) -> None:
    names = [
        base_fingerprint(base(tmp_path / "first")),
        base_fingerprint(base(tmp_path / "tensor", changed=True)),
        base_fingerprint(base(tmp_path / "config", kind="qwen")),
    ]
    more = base(tmp_path / "more")
    (more / "pytorch_model.bin").write_bytes(b"a" * 100_000)
    names.append(base_fingerprint(more))
    (more / "pytorch_model.bin").write_bytes(b"a" * 50_000 + b"b" * 50_000)
    names.append(base_fingerprint(more))
    assert len(set(names)) == len(names)


def test_a_large_base_takes_no_time(tmp_path: Path) -> None:
    """50 ms were wished for; this machine may be busy with others. Hashing all of it would take seconds."""
    (tmp_path / "config.json").write_text("{}")
    with (tmp_path / "pytorch_model.bin").open("wb") as file:
        os.truncate(file.fileno(), 8 << 30)  # Sparse: it takes no room.
    began = time.process_time()
    base_fingerprint(tmp_path)
    assert time.process_time() - began < 0.5


def checkpoint(folder: Path, **sums: object) -> Path:
    plain = {
        "loss": 0.0, "last_logged_step": 1, "num_tokens": 1, "metrics": {}, "skips": [0, 0, 0, 0],
        "rewards": {"rewards": [], "labels": []}, "rows_at_once": {"training": 1, "evaluation": 1},
    }  # fmt: skip
    (folder / "accumulators.json").write_text(json.dumps({**plain, **sums}))
    return folder


NOW = {"data": "d", "base": "b", "evaluation_data": "e"}
PATIENT = RunConfig(model="m", dataset="rows", eval_dataset="held", early_stopping_patience=2)


def test_what_is_the_same_or_not_known_passes(tmp_path: Path) -> None:
    require_same(checkpoint(tmp_path, **NOW), PATIENT, NOW)
    require_same(checkpoint(tmp_path), PATIENT, NOW)
    require_same(tmp_path / "without", PATIENT, NOW)
    require_same(checkpoint(tmp_path, evaluation_data="other"), RunConfig(model="m", eval_dataset="h"), NOW)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("data", "the rows of rows are not those that it was trained on; restore them, or add --allow-"),
        ("base", "holds, or how it is stored, is not what it was trained on; restore them, or add"),
        ("evaluation_data", "the rows of held are not those that it was evaluated on"),
    ],
)
def test_what_changed_is_refused(tmp_path: Path, changed: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        require_same(checkpoint(tmp_path, **{**NOW, changed: "other"}), PATIENT, NOW)


def test_a_template_may_be_what_changed(tmp_path: Path) -> None:
    """Its file may hold another text than before under the same name."""
    config = RunConfig(model="m", dataset="rows", chat_template="t.jinja")
    with pytest.raises(
        UserError, match=r"rows of rows, or what --chat-template t.jinja makes of them, are not"
    ):
        require_same(checkpoint(tmp_path, **{**NOW, "data": "other"}), config, NOW)


def test_only_what_was_auto_is_told() -> None:
    told = {"quantization": "none", "dtype": "float32", "optim": "adamw_torch_fused"}
    assert resolved(RunConfig(dtype="float32"), **told, rows=(10, 10)) == {
        "quantization": "none",
        "optim": "adamw_torch",
        "class_weights": [1.0, 1.0],
    }
