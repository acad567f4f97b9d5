"""Where a model's files come from, with a hub on this machine in place of the real one."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from kto_tui.core.config import TINY_MODEL, RunConfig
from kto_tui.core.errors import UserError
from kto_tui.models.check import check_model
from kto_tui.models.folder import missing_part
from kto_tui.models.packages import PACKAGES, Package
from kto_tui.training import sources
from kto_tui.training.sources import BASE_MODEL_NAME, locate
from kto_tui.training.tiny import build_into
from tests.fakes.hub import COMMIT, isolate, nobody, point_at, serving

SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"


def silent(done: int, total: int, detail: str) -> None: ...


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_into(folder)
    return folder


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    isolate(tmp_path / "cache", monkeypatch)
    yield
    huggingface_hub.close_session()


def config(tmp_path: Path, model: str, **changes: str) -> RunConfig:
    (tmp_path / "out").mkdir(exist_ok=True)
    return RunConfig(model=model, output_dir=str(tmp_path / "out"), **changes)  # type: ignore[arg-type]


def test_a_download_reports_bytes_and_is_cached(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[int, int, str]] = []
    with serving(model_folder) as address:
        point_at(address, monkeypatch)
        first = locate(config(tmp_path, "org/name"), lambda *reading: heard.append(reading))
    assert first.label == "hub"
    assert missing_part(first.folder) is None
    # The settings come first, by themselves.
    size = sum(path.stat().st_size for path in first.folder.iterdir() if path.name != "config.json")
    assert (heard[-1][0], heard[-1][2]) == (size, "downloading org/name")
    with nobody() as address:
        point_at(address, monkeypatch)
        assert locate(config(tmp_path, "org/name"), silent).label == "hub cache"


def test_the_commit_that_a_run_began_with_is_loaded(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name where main has moved since; by main's where it has not, so that the cache knows main."""
    older, asked = "1" * 40, list[str]()
    with serving(model_folder, asked=asked) as address:
        point_at(address, monkeypatch)
        assert locate(config(tmp_path, "org/name", model_revision=older), silent).revision == older
        assert f"/org/name/resolve/{older}/model.safetensors" in asked
        shutil.rmtree(tmp_path / "cache")
        first = locate(config(tmp_path, "org/name", model_revision=COMMIT), silent)
    snapshot = tmp_path / "cache" / "models--org--name" / "snapshots"
    shutil.copytree(snapshot / COMMIT, snapshot / older)
    with nobody() as address:
        point_at(address, monkeypatch)
        assert locate(config(tmp_path, "org/name"), silent).folder == first.folder
        again = locate(config(tmp_path, "org/name", model_revision=older), silent)
    assert (again.label, again.revision, first.revision) == ("hub cache", older, COMMIT)
    assert locate(config(tmp_path, str(first.folder)), silent).revision is None  # A folder as any other.


@pytest.mark.parametrize("error", [(403, "GatedRepo"), (404, "RepoNotFound"), (500, "Oops")])
def test_worker_and_command_line_say_the_same_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: tuple[int, str]
) -> None:
    with serving(error=error) as address:
        point_at(address, monkeypatch)
        assert_said_alike(tmp_path, "org/name")


def assert_said_alike(tmp_path: Path, model: str) -> None:
    with pytest.raises(UserError) as said_first:
        check_model(model)
    with pytest.raises(UserError) as said_later:
        locate(config(tmp_path, model), silent)
    assert str(said_later.value) == str(said_first.value)


def test_without_a_network_the_hub_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client would ask again and again for half a minute."""
    asked: list[str] = []
    with serving(error=(503, "Oops"), asked=asked) as address:
        point_at(address, monkeypatch)
        with pytest.raises(UserError, match="the hub answers with HTTP status 503"):
            locate(config(tmp_path, "org/name"), silent)
    assert len(asked) == 1
    with nobody() as address:
        point_at(address, monkeypatch)
        with pytest.raises(UserError, match="the hub cannot be reached"):
            locate(config(tmp_path, "org/name"), silent)


def test_a_repository_without_weights(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = without(model_folder, tmp_path, "model.safetensors")
    with serving(partial) as address:
        point_at(address, monkeypatch)
        with pytest.raises(UserError, match="the repository has no weights"):
            locate(config(tmp_path, "org/name"), silent)


def test_no_weights_are_downloaded_of_a_model_that_cannot_be_trained(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = without(model_folder, tmp_path, "config.json")
    (packed / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "vptq"}}))
    asked: list[str] = []
    with serving(packed, asked=asked) as address:
        point_at(address, monkeypatch)
        with pytest.raises(UserError, match="org/name: packed as vptq, through which no gradient passes"):
            locate(config(tmp_path, "org/name"), silent)
    assert not any("safetensors" in path for path in asked)


def test_the_package_follows_the_hub(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the 98 MB file and its conversion; the search for it is the real one."""
    package = tmp_path / "site" / "some_model"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (package / "weights.gguf").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(PACKAGES, SMOL, Package("msgspec", "some_model", "weights.gguf"))
    converted: list[Path] = []

    def convert(gguf: Path, folder: Path) -> None:
        converted.append(gguf)
        build_into(folder)

    monkeypatch.setattr(sources, "_convert_gguf", convert)
    with nobody() as address:
        point_at(address, monkeypatch)
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
    assert_said_alike(tmp_path, model)


def without(model_folder: Path, tmp_path: Path, lost: str) -> Path:
    """The model less one of its files."""
    folder = tmp_path / "partial"
    folder.mkdir()
    for path in model_folder.iterdir():
        if path.name != lost:
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_lacks_something(model_folder: Path, tmp_path: Path, lost: str) -> None:
    assert_said_alike(tmp_path, str(without(model_folder, tmp_path, lost)))


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "model.gguf", "adapter_config.json"])
def test_a_folder_with_other_weights(model_folder: Path, tmp_path: Path, name: str) -> None:
    folder = without(model_folder, tmp_path, "model.safetensors")
    (folder / name).write_text("{")
    assert_said_alike(tmp_path, str(folder))


def test_an_adapter_of_itself(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    named = {"base_model_name_or_path": str(folder), "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(named))
    (folder / "adapter_model.safetensors").touch()
    assert_said_alike(tmp_path, str(folder))
