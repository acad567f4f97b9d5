"""Settings that are written otherwise and come to the same, or that have no effect beside others."""

import json
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.changes import changed_settings
from kto_tui.core.config import RunConfig, to_yaml

RESOLVED = {"optim": "adamw_torch", "dtype": "float32", "class_weights": [1.0, 1.5]}


def changed(folder: Path, before: dict[str, Any], now: dict[str, Any], **sums: Any) -> dict[str, bool]:
    """The names of what changed, and whether that is harmless."""
    (folder / "run.yaml").write_text(to_yaml(RunConfig(**before)))
    (folder / "accumulators.json").write_text(json.dumps(sums))
    return {change.name: change.harmless for change in changed_settings(folder, RunConfig(**now))}


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        ({}, {"optim": "adamw_torch", "dtype": "float32"}, {}),
        ({}, {"optim": "adamw_8bit"}, {"optim": False}),
        ({}, {"quantization": "none"}, {"quantization": False}),
        ({"dtype": "bfloat16"}, {"dtype": "float32"}, {"dtype": False}),
        # What auto comes to now is not known before there is a device.
        ({"optim": "adamw_torch"}, {}, {"optim": False}),
        ({}, {"class_weights": "1:1.5"}, {}),
        ({"class_weights": "1:1.50"}, {}, {}),
        ({}, {"class_weights": "1:1.6"}, {"class_weights": False}),
    ],
)
def test_auto_and_what_it_came_to(
    tmp_path: Path, before: dict[str, Any], now: dict[str, Any], found: dict[str, bool]
) -> None:
    assert changed(tmp_path, before, now, resolved=RESOLVED) == found


@pytest.mark.parametrize(
    ("before", "now", "harmless"),
    [("auto", "off", True), ("off", "auto", True), ("auto", "on", False), ("off", "on", False)],
)
def test_gradient_checkpointing_stays_as_the_checkpoint_has_it(
    tmp_path: Path, before: str, now: str, harmless: bool
) -> None:
    name = "gradient_checkpointing"
    found = changed(tmp_path, {name: before}, {name: now}, gradient_checkpointing=False)
    assert found == ({} if harmless else {name: False})
    assert changed(tmp_path, {name: before}, {name: now}, gradient_checkpointing="x") == {name: False}


@pytest.mark.parametrize("resolved", [None, 5, [], {"optim": 5}, {"optim": None}])
def test_what_is_not_known_is_a_change(tmp_path: Path, resolved: Any) -> None:
    assert changed(tmp_path, {}, {"optim": "adamw_torch"}, resolved=resolved) == {"optim": False}


def test_odd_weights_are_a_change(tmp_path: Path) -> None:
    odd = {"class_weights": "x"}
    assert changed(tmp_path, {}, {"class_weights": "1:1"}, resolved=odd) == {"class_weights": False}


def test_settings_without_effect_are_harmless(tmp_path: Path) -> None:
    constant = {"lr_scheduler_type": "constant"}
    assert changed(tmp_path, constant, {**constant, "warmup_ratio": 0.5}) == {"warmup_ratio": True}
    assert changed(tmp_path, {}, {**constant, "warmup_ratio": 0.5}) == {
        "lr_scheduler_type": False,
        "warmup_ratio": False,
    }
    apo = {"loss_type": "apo_zero_unpaired"}
    assert changed(tmp_path, apo, {**apo, "kl_scope": "micro_batch"}) == {"kl_scope": True}
    assert changed(tmp_path, {}, {"kl_scope": "micro_batch"}) == {"kl_scope": False}


def test_columns_are_harmless_where_the_rows_themselves_are_compared(tmp_path: Path) -> None:
    assert changed(tmp_path, {}, {"prompt_column": "q"}, data="a1b2") == {"prompt_column": True}
    assert changed(tmp_path, {}, {"prompt_column": "q"}) == {"prompt_column": False}


def test_another_revision_is_harmless_where_the_files_are_compared(tmp_path: Path) -> None:
    """And the first one that is noted is none."""
    before, now = {"model_revision": "a"}, {"model_revision": "b"}
    assert changed(tmp_path, before, now) == {"model_revision": False}
    assert changed(tmp_path, before, now, base="digest") == {"model_revision": True}
    assert changed(tmp_path, {}, now, base="digest") == {}
