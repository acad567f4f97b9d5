"""What the devices are doing: NVIDIA GPUs through NVML, or this machine's memory where there are none."""

import contextlib
from collections.abc import Callable
from typing import Any

import psutil

from kto_tui.core.events import Device

Sampler = Callable[[int | None], tuple[Device, ...]]


def make_sampler() -> Sampler:
    """A function from the worker's process id to readings of the devices it may use."""
    nvml = _open_nvml()
    if nvml is None:
        return HostSampler()
    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    return GpuSampler(nvml, handles) if handles else HostSampler()


def _open_nvml() -> Any:
    """The NVML library, initialized, or None on a machine without an NVIDIA driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


class GpuSampler:
    """Reads every GPU. A figure that a GPU does not report is None."""

    def __init__(self, nvml: Any, handles: list[Any]) -> None:
        self._nvml = nvml
        self._handles = handles

    def __call__(self, worker: int | None) -> tuple[Device, ...]:
        del worker
        return tuple(self._read(index, handle) for index, handle in enumerate(self._handles))

    def _read(self, index: int, handle: Any) -> Device:
        nvml = self._nvml
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        watts = self._optional(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        return Device(
            index=index,
            name=_text(nvml.nvmlDeviceGetName(handle)),
            memory_used_bytes=int(memory.used),
            memory_total_bytes=int(memory.total),
            utilization=self._optional(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            temperature_c=self._optional(
                lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
            power_w=None if watts is None else watts / 1000,
        )

    def _optional(self, read: Callable[[], float]) -> float | None:
        with contextlib.suppress(self._nvml.NVMLError):
            return float(read())
        return None


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


class HostSampler:
    """Reads the worker's resident memory and processor use against the machine's RAM."""

    def __init__(self) -> None:
        self._worker: psutil.Process | None = None

    def __call__(self, worker: int | None) -> tuple[Device, ...]:
        used, percent = 0, None
        with contextlib.suppress(psutil.Error):
            used, percent = self._read(worker)
        return (
            Device(
                index=0,
                name=f"CPU, {psutil.cpu_count()} cores",
                kind="host",
                memory_used_bytes=used,
                memory_total_bytes=psutil.virtual_memory().total,
                utilization=percent,
            ),
        )

    def _read(self, worker: int | None) -> tuple[int, float | None]:
        if worker is None:
            self._worker = None
            return 0, None
        if self._worker is None or self._worker.pid != worker:
            self._worker = psutil.Process(worker)
            self._worker.cpu_percent()  # The first reading only starts the interval.
            return self._worker.memory_info().rss, None
        busy = self._worker.cpu_percent() / (psutil.cpu_count() or 1)
        return self._worker.memory_info().rss, busy
