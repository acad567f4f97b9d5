"""Where a model's files come from, with a hub on this machine in place of the real one."""

import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from kto_tui.core.config import TINY_MODEL, RunConfig
from kto_tui.core.errors import UserError
from kto_tui.training import sources
from kto_tui.training.sources import BASE_MODEL_NAME, locate, missing_part
from kto_tui.training.tiny import build_into
from tests.training.fake_hub import serving

NOBODY = "http://127.0.0.1:9"
SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"


def silent(done: int, total: int, detail: str) -> None: ...


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_into(folder)
    return folder


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    yield
    huggingface_hub.close_session()


def config(tmp_path: Path, model: str, **changes: str) -> RunConfig:
    (tmp_path / "out").mkdir(exist_ok=True)
    return RunConfig(model=model, output_dir=str(tmp_path / "out"), **changes)  # type: ignore[arg-type]


def point_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_a_download_reports_bytes_and_is_cached(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[int, int, str]] = []
    with serving(model_folder) as address:
        point_at(address, monkeypatch)
        first = locate(config(tmp_path, "org/name"), lambda *reading: heard.append(reading))
    assert first.label == "hub"
    assert missing_part(first.folder) is None
    size = sum(path.stat().st_size for path in first.folder.iterdir())
    assert (heard[-1][0], heard[-1][2]) == (size, "downloading org/name")
    point_at(NOBODY, monkeypatch)
    assert locate(config(tmp_path, "org/name"), silent).label == "hub cache"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ((403, "GatedRepo"), "accept its terms"),
        ((404, "RepoNotFound"), "no such model"),
        ((500, "Oops"), "the hub does not answer"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: tuple[int, str], says: str
) -> None:
    with serving(error=error) as address:
        point_at(address, monkeypatch)
        with pytest.raises(UserError, match=says) as raised:
            locate(config(tmp_path, "org/name"), silent)
    assert "\n" not in str(raised.value)
    assert "--model org/name" in str(raised.value)


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(NOBODY, monkeypatch)
    began = time.monotonic()
    with pytest.raises(UserError, match="the hub does not answer; check the network"):
        locate(config(tmp_path, "org/name"), silent)
    assert time.monotonic() - began < 30


def test_offline_by_choice_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set; unset it"):
        locate(config(tmp_path, "org/name"), silent)


def test_the_package_follows_the_hub(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the 98 MB file and its conversion; the search for it is the real one."""
    package = tmp_path / "site" / "some_model"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (package / "weights.gguf").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = sources.Package("msgspec", "some_model", "weights.gguf")
    monkeypatch.setitem(sources.PACKAGES, SMOL, found)
    converted: list[Path] = []

    def convert(gguf: Path, folder: Path) -> None:
        converted.append(gguf)
        build_into(folder)

    monkeypatch.setattr(sources, "_convert_gguf", convert)
    point_at(NOBODY, monkeypatch)
    source = locate(config(tmp_path, SMOL), silent)
    assert source.label.startswith("package msgspec ")
    assert source.own_copy
    assert converted == [package / "weights.gguf"]
    with serving(model_folder) as address:
        point_at(address, monkeypatch)
        again = locate(config(tmp_path, SMOL), silent)
    assert again == source


def test_the_built_in_model_is_kept_beside_the_run(tmp_path: Path) -> None:
    source = locate(config(tmp_path, TINY_MODEL), silent)
    assert (source.label, source.folder.name) == ("built here", BASE_MODEL_NAME)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    resumed = RunConfig(
        model=TINY_MODEL,
        output_dir=str(elsewhere),
        resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"),
    )
    assert locate(resumed, silent).folder == elsewhere / BASE_MODEL_NAME


def test_a_folder_is_used_as_it_is(model_folder: Path, tmp_path: Path) -> None:
    source = locate(config(tmp_path, str(model_folder)), silent)
    assert (source.label, source.folder, source.own_copy) == ("local folder", model_folder, False)


@pytest.mark.parametrize("model", ["./nowhere", "/no/such/folder", "a/b/c", "~/nope"])
def test_a_folder_that_is_not_there(tmp_path: Path, model: str) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        locate(config(tmp_path, model), silent)


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer.json", "no tokenizer files"),
    ],
)
def test_a_folder_that_lacks_something(model_folder: Path, tmp_path: Path, lost: str, says: str) -> None:
    folder = tmp_path / "partial"
    folder.mkdir()
    for path in model_folder.iterdir():
        if path.name != lost:
            (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=says):
        locate(config(tmp_path, str(folder)), silent)


def test_a_missing_shard_is_named(model_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((model_folder / name).read_bytes())
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}')
    assert missing_part(tmp_path) == "no model-2.safetensors"
