"""What prepare_environment leaves in the environment: each case is told as the user's and ours."""

import logging
import os

import pytest

from kto_tui.training.environment import prepare_environment

NAMES = ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "WORLD_SIZE")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the function sets is undone after each test."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in NAMES:
        os.environ.pop(name, None)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, ("PCI_BUS_ID", "0", None)),
        ({"CUDA_VISIBLE_DEVICES": "2, 3"}, ("PCI_BUS_ID", "2", None)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8f1e,GPU-77aa"}, ("PCI_BUS_ID", "GPU-8f1e", None)),
        ({"CUDA_VISIBLE_DEVICES": ""}, ("PCI_BUS_ID", "", None)),
        ({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, ("FASTEST_FIRST", "0", None)),
        ({"WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": "0,1"}, (None, "0,1", "2")),
    ],
)
def test_one_gpu_is_visible(theirs: dict[str, str], ours: tuple[str | None, ...]) -> None:
    os.environ.update(theirs)
    prepare_environment()
    assert tuple(os.environ.get(name) for name in NAMES) == ours


def test_warnings_that_nobody_can_act_on_stay_out_of_the_log() -> None:
    prepare_environment()
    for name in ("bitsandbytes.backends.cpu.ops", "accelerate.accelerator"):
        assert not logging.getLogger(name).isEnabledFor(logging.WARNING)
        assert logging.getLogger(name).isEnabledFor(logging.ERROR)
