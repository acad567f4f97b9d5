"""A base of the hub stays what it was when the run began, wherever main is by then."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import msgspec
import pytest
from safetensors.torch import load_file, save_file

from kto_tui.cli.request import check, settings_of
from kto_tui.core.config import to_yaml
from kto_tui.core.events import AlertRaised
from kto_tui.run.trained import find_trained
from kto_tui.training.after.base import name_base
from kto_tui.training.tiny import build_into
from tests.fakes.hub import COMMIT, isolate, nobody, point_at
from tests.real_worker.harness import Sitting, sit, tiny

LATER = "f" * 40


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """org/name in the cache of a machine without a network."""
    isolate(tmp_path / "cache", monkeypatch)
    repository = tmp_path / "cache" / "models--org--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    build_into(repository / "snapshots" / COMMIT)
    with nobody() as address:
        point_at(address, monkeypatch)
        yield repository
    huggingface_hub.close_session()


def push(repository: Path) -> None:
    """Other weights are what main is from now on."""
    shutil.copytree(repository / "snapshots" / COMMIT, repository / "snapshots" / LATER)
    weights = repository / "snapshots" / LATER / "model.safetensors"
    save_file({name: tensor * 2 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    (repository / "refs" / "main").write_text(LATER)


def begin(tmp_path: Path) -> Sitting:
    config = check(tiny(tmp_path, model="org/name", max_steps=2, save_steps=1)).config
    (tmp_path / "out" / "run.yaml").write_text(to_yaml(config))
    return sit(config)


def test_a_run_goes_on_with_the_commit_that_it_began_with(tmp_path: Path, cached: Path) -> None:
    first = begin(tmp_path)
    assert (first.exit_code, first.config.model_revision) == (0, COMMIT)
    push(cached)
    asked = {
        "resume_from_checkpoint": str(first.output / "checkpoint-1"),
        "output_dir": str(tmp_path / "two"),
    }
    config = check(settings_of(asked)).config
    assert config.model_revision == COMMIT
    (tmp_path / "two").mkdir()
    again = sit(config)
    assert again.adapter("final_model") == first.adapter("final_model")
    assert not [alert for alert in again.of(AlertRaised) if "revision" in alert.message]


def test_adapters_and_the_card_name_the_commit(tmp_path: Path, cached: Path) -> None:
    first = begin(tmp_path)
    push(cached)
    for name in ("checkpoint-1", "final_model"):
        saved = json.loads((first.output / name / "adapter_config.json").read_text())
        assert (saved["base_model_name_or_path"], saved["revision"]) == ("org/name", COMMIT)
        assert find_trained(str(first.output / name)).config.model_revision == COMMIT
    card = (first.output / "final_model" / "README.md").read_text(encoding="utf-8")
    assert f'from_pretrained("org/name", revision="{COMMIT}")' in card
    alone = shutil.move(first.output / "final_model", tmp_path / "alone")
    assert find_trained(str(alone)).config.model_revision == COMMIT
    name_base(Path(alone), str(tmp_path))
    assert find_trained(str(alone)).config.model_revision is None


def test_a_run_that_noted_no_commit_notices_that_main_has_moved(tmp_path: Path, cached: Path) -> None:
    config = tiny(tmp_path, model="org/name", max_steps=2, save_steps=1)
    first = sit(config)
    checkpoint = first.output / "checkpoint-1"
    again = msgspec.structs.replace(
        config,
        resume_from_checkpoint=str(checkpoint),
        model_revision=COMMIT,
        output_dir=str(tmp_path / "two"),
    )
    (tmp_path / "two").mkdir()
    assert sit(again).exit_code == 0
    push(cached)
    (tmp_path / "three").mkdir()
    refused = sit(msgspec.structs.replace(again, model_revision=LATER, output_dir=str(tmp_path / "three")))
    assert refused.exit_code == 2
