"""Every scenario but the random ones, once: the short ones in `make test`, the rest among the slow tests."""

from pathlib import Path

import pytest

from tests.faults.playing import Play, play
from tests.faults.scenarios import SCENARIOS
from tests.faults.scenarios.registry import Scenario

SEED = 20240202


def _parameter(scenario: Scenario) -> object:
    marks = [pytest.mark.faults, pytest.mark.worker, *([] if scenario.short else [pytest.mark.slow])]
    return pytest.param(scenario.name, id=scenario.name, marks=marks)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [_parameter(scenario) for scenario in SCENARIOS if not scenario.repeat])
def test_the_run_survives(name: str, tmp_path: Path, shared: Path) -> None:
    played = play(Play(name, SEED, tmp_path, shared))
    if played.skipped:
        pytest.skip(played.skipped)
    assert played.problem is None, f"{played.problem}\n(the run is kept in {played.folder})"
