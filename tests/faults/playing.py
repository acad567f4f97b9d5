"""Plays of scenarios: chosen for a number of kills, played in processes of their own, and judged."""

import contextlib
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path

from tests.faults.disk import CannotMount
from tests.faults.harness import Missed
from tests.faults.lab import Lab
from tests.faults.matrix import Played
from tests.faults.scenarios import SCENARIOS
from tests.faults.scenarios.registry import Scenario

TRIES = 3


@dataclass(frozen=True)
class Play:
    """What to play, with which seed, and where its folder is."""

    scenario: str
    seed: int
    folder: Path
    shared: Path


def chosen(names: Sequence[str]) -> list[Scenario]:
    """The scenarios of these names, or whose names begin so; all where none is named."""
    return [s for s in SCENARIOS if not names or any(s.name.startswith(name) for name in names)]


def plan(scenarios: Sequence[Scenario], kills: int) -> list[Scenario]:
    """Each scenario once, then those that repeat until there are so many kills."""
    planned = list(scenarios)
    left = kills - sum(scenario.kills for scenario in planned)
    for scenario in cycle([s for s in scenarios if s.repeat] or [None]):
        if scenario is None or left <= 0:
            break
        planned.append(scenario)
        left -= scenario.kills
    return planned


def play_all(plays: Sequence[Play], jobs: int, told: Callable[[Played], None]) -> list[Played]:
    """All plays, so many at a time; `told` hears of each as it ends."""
    results = []
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(play, each) for each in plays]):
            results.append(future.result())
            told(results[-1])
    return results


def play(asked: Play) -> Played:
    """One play; again where the moment for the fault was missed. Survivors leave nothing behind."""
    (scenario,) = [each for each in SCENARIOS if each.name == asked.scenario]
    for attempt in range(1, TRIES + 1):
        try:
            return _play_once(scenario, asked, asked.folder / str(attempt))
        except Missed as error:
            missed = f"missed {TRIES} times: {error}"
    return Played(asked.scenario, asked.seed, [], 0, 0.0, problem=missed)


def _play_once(scenario: Scenario, asked: Play, folder: Path) -> Played:
    """Raises Missed."""
    began = time.monotonic()
    lab = Lab(folder, asked.shared, asked.seed)
    problem, skipped = None, None
    try:
        scenario.play(lab)
    except Missed:
        raise
    except CannotMount as error:
        skipped = str(error)
    except AssertionError as error:
        problem = str(error) or traceback.format_exc()
    except Exception:  # noqa: BLE001  (whatever it is, the other plays go on and the matrix shows it)
        problem = traceback.format_exc()
    finally:
        lab.close(survived=problem is None)
    if problem is None:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()
    return Played(
        scenario.name,
        asked.seed,
        [] if skipped else lab.injections,
        lab.redone,
        time.monotonic() - began,
        problem,
        skipped,
        str(folder),
    )


def plays_of(planned: Sequence[Scenario], seed: int, folder: Path) -> Iterator[Play]:
    """The first has the seed itself, so that one that failed is played again by its name and its seed."""
    for index, scenario in enumerate(planned):
        yield Play(scenario.name, seed + index, folder / f"{index:03}-{scenario.name}", folder / "shared")
