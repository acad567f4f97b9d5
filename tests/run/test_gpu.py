"""Readings of devices. NVML itself is the boundary: no GPU can be had in a test."""

import os
from types import SimpleNamespace
from typing import Any

from kto_tui.run.gpu import GpuSampler, HostSampler


class NoSensor(Exception):
    pass


def no_sensor(*_: object) -> Any:
    raise NoSensor


def nvml(**changed: Any) -> Any:
    """NVML with one card, as the driver of an RTX 3090 answers."""
    answers = {
        "NVMLError": NoSensor,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=21 << 30, total=24 << 30),
        "nvmlDeviceGetName": lambda _: b"NVIDIA GeForce RTX 3090",
        "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=97),
        "nvmlDeviceGetTemperature": lambda *_: 71,
        "nvmlDeviceGetPowerUsage": lambda _: 348_500,
    }
    return SimpleNamespace(**{**answers, **changed})


def test_a_gpu_in_bytes_percent_degrees_and_watts() -> None:
    (device,) = GpuSampler(nvml(), ["handle"])(None)
    assert (device.kind, device.index, device.name) == ("gpu", 0, "NVIDIA GeForce RTX 3090")
    assert (device.memory_used_bytes, device.memory_total_bytes) == (21 << 30, 24 << 30)
    assert (device.utilization, device.temperature_c, device.power_w) == (97.0, 71.0, 348.5)


def test_what_a_gpu_does_not_report_is_left_open() -> None:
    silent = nvml(
        nvmlDeviceGetUtilizationRates=no_sensor,
        nvmlDeviceGetTemperature=no_sensor,
        nvmlDeviceGetPowerUsage=no_sensor,
    )
    (device,) = GpuSampler(silent, ["handle"])(None)
    assert (device.utilization, device.temperature_c, device.power_w) == (None, None, None)
    assert device.memory_used_bytes == 21 << 30


def test_without_a_gpu_the_workers_memory_against_the_machines() -> None:
    sample = HostSampler()
    (first,), (second,) = sample(os.getpid()), sample(os.getpid())
    assert first.kind == "host"
    assert 0 < first.memory_used_bytes < first.memory_total_bytes
    assert first.utilization is None
    assert second.utilization is not None
    (gone,) = sample(None)
    assert gone.memory_used_bytes == 0
