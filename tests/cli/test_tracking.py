"""Trackers that cannot take the metrics are refused before the model is loaded."""

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kto_tui.cli.tracking import check_trackers
from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.core.trackers import TRACKERS

KEY = "0123456789" * 4
CLOUD = f"machine api.wandb.ai login user password {KEY}"
OURS = f"machine w.example.org login user password {KEY}"
Case = tuple[dict[str, str], dict[str, str], bool]

# Variables, files below the home folder (which is the current one, too), and whether that is a login.
CASES: list[Case] = [
    ({}, {}, False),
    ({"WANDB_API_KEY": KEY}, {}, True),
    ({"WANDB_API_KEY": ""}, {}, False),
    ({"WANDB_MODE": "offline"}, {}, True),
    ({"WANDB_MODE": "dryrun"}, {}, True),
    ({"WANDB_MODE": "disabled"}, {}, True),
    ({"WANDB_MODE": "online"}, {"wandb/settings": "[default]\nmode = offline"}, False),
    ({}, {".netrc": CLOUD}, True),
    ({}, {"_netrc": CLOUD}, True),
    ({}, {".netrc": OURS}, False),
    ({}, {".netrc": "machine api.wandb.ai login user"}, False),
    ({}, {".netrc": "what is this"}, False),
    ({"NETRC": "~/elsewhere"}, {"elsewhere": CLOUD}, True),
    ({"NETRC": "~/elsewhere"}, {".netrc": CLOUD}, False),
    ({"WANDB_BASE_URL": "https://w.example.org"}, {".netrc": OURS}, True),
    ({"WANDB_BASE_URL": "https://w.example.org"}, {".netrc": CLOUD}, False),
    ({}, {".netrc": OURS, ".config/wandb/settings": "[default]\nbase_url = https://w.example.org"}, True),
    ({}, {".config/wandb/settings": f"[default]\napi_key = {KEY}"}, True),
    ({"WANDB_CONFIG_DIR": "~/own"}, {"own/settings": "[default]\nmode = disabled"}, True),
    ({}, {"wandb/settings": "[default]\nmode = offline"}, True),
    ({}, {"wandb/settings": "mode = offline"}, False),
]

WHAT_WANDB_SAYS = """
import json, os, sys, wandb
from wandb.sdk import wandb_setup
from wandb.sdk.lib import wbauth
before, answers = dict(os.environ), []
for home, variables in json.loads(sys.argv[1]):
    os.environ.clear()
    os.environ.update({**before, **variables, "HOME": home})
    os.chdir(home)
    settings = wandb_setup.singleton().settings
    away = settings._offline or settings._noop
    answers.append(away or bool(wbauth.authenticate_session(host=settings.base_url, source="", prompt=False)))
    wbauth.unauthenticate_session(update_settings=False)
    wandb.teardown()
print(json.dumps(answers))
"""


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith("WANDB_") or name == "NETRC":
            monkeypatch.delenv(name)


def write(home: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)


needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")


@needs_wandb
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {[*case[1]]}")
def test_logins(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, files, ready = case
    write(tmp_path, files)
    monkeypatch.chdir(tmp_path)
    for name, value in {**variables, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    if ready:
        check_trackers(RunConfig(wandb=True))
    else:
        with pytest.raises(UserError) as raised:
            check_trackers(RunConfig(wandb=True))
        assert (
            str(raised.value) == "--wandb: not logged in to W&B; run wandb login, or set WANDB_MODE=offline"
        )


@needs_wandb
def test_wandb_finds_the_same_logins(tmp_path: Path) -> None:
    """A release that keeps its keys elsewhere shows here. No server is asked."""
    homes = []
    for number, (variables, files, _) in enumerate(CASES):
        home = tmp_path / str(number)
        home.mkdir()
        write(home, files)
        homes.append((str(home), variables))
    done = subprocess.run(
        [sys.executable, "-c", WHAT_WANDB_SAYS, json.dumps(homes)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [ready for _, _, ready in CASES]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError) as raised:
        check_trackers(RunConfig(report_to=f" {name} "))
    said = f"--report-to {name}: the package is missing; install it with: pip install 'kto-tui[{name}]'"
    assert str(raised.value) == said


def test_an_unknown_tracker_is_named() -> None:
    with pytest.raises(UserError) as raised:
        check_trackers(RunConfig(report_to="none,tensor\x1bbord"))
    said = "--report-to tensor\\x1bbord: no such tracker; expected wandb, tensorboard, mlflow or trackio"
    assert str(raised.value).startswith(said)


def test_each_has_an_extra_of_its_name() -> None:
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    extras = extras["project"]["optional-dependencies"]
    assert all(extras[name][0].startswith(name) for name in TRACKERS)
    assert extras["trackers"] == [f"kto-tui[{','.join(TRACKERS)}]"]
