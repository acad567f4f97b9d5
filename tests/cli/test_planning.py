"""`kto-tui plan` of models of which no more is here, or on the hub, than their settings."""

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from kto_tui.cli.planning import memory_report
from kto_tui.core.config import RunConfig
from kto_tui.core.counts import Counts
from kto_tui.core.errors import UserError
from kto_tui.report.memory_plan import MemoryReport
from tests.fakes.hub import isolate, nobody, point_at, serving
from tests.models.test_hub import OLDER, cache
from tests.sizing.presets import PRESETS

SETTINGS = json.dumps(PRESETS["1.5b"][0])


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    isolate(tmp_path / "cache", monkeypatch)
    yield
    huggingface_hub.close_session()


def notes(model: str, revision: str | None = None) -> list[str]:
    """What is noted of the plan."""
    config = RunConfig(model=model, model_revision=revision, output_dir="./nowhere")
    _, report = memory_report(config, Counts(longest_bytes=100), {"vram": 24.0})
    assert isinstance(report, MemoryReport)
    assert report.plan.parameters > 1e9
    return list(report.notes)


def cached(tmp_path: Path, **place: str | None) -> None:
    cache(tmp_path, "config.json", **place)  # type: ignore[arg-type]
    for path in (tmp_path / "cache").glob("*/snapshots/*/config.json"):
        path.write_text(SETTINGS)


def test_without_the_hub_a_cached_config_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(tmp_path)
    with nobody() as address:
        point_at(address, monkeypatch)
        (note,) = notes("org/name")
        with pytest.raises(UserError, match="--model org/other: the hub cannot be reached"):
            notes("org/other")
    assert note.startswith("a start would be refused now: --model org/name: the hub cannot be reached")


def test_the_config_of_any_commit_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(tmp_path, commit=OLDER, ref=None)
    with nobody() as address:
        point_at(address, monkeypatch)
        assert len(notes("org/name")) == len(notes("org/name", OLDER)) == 1
        with pytest.raises(UserError, match="does not hold the whole model at revision v2"):
            notes("org/name", "v2")


def test_of_a_model_on_the_hub_its_config_alone_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / name).write_text(SETTINGS)
    asked: list[str] = []
    with serving(model, asked=asked) as address:
        point_at(address, monkeypatch)
        assert notes("org/name") == notes("org/name", "v1") == []
    assert {path.rpartition("/")[2] for path in asked if "/resolve/" in path} == {"config.json"}
    assert any("/resolve/v1/" in path for path in asked)


def test_what_the_hub_keeps_is_refused_and_a_folder_without_weights_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(error=(403, "GatedRepo")) as address:
        point_at(address, monkeypatch)
        with pytest.raises(UserError, match="org/name is gated"):
            notes("org/name")
    (tmp_path / "config.json").write_text(SETTINGS)
    assert "the folder has no tokenizer files" in notes(str(tmp_path))[0]
