"""What the device is really at: memory as it has given it away, not as torch counts, and work done."""

import os

import psutil
import torch


def memory_in_use_bytes() -> int:
    """On CUDA, device memory of this process, context included; else its resident memory."""
    if torch.cuda.is_available():
        return _reported_by_driver() or _reserved_with_context()
    return int(psutil.Process().memory_info().rss)


def free_bytes() -> int:
    """What activations may take: most of what CUDA has left, or half of what is left of the host's memory."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        allowed = total * torch.cuda.get_per_process_memory_fraction() - torch.cuda.memory_reserved()
        return int(0.85 * min(free, allowed))
    return psutil.virtual_memory().available // 2


def wait_for_device() -> None:
    """Return when CUDA has done all that it was told to; at once on a CPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _reported_by_driver() -> int | None:
    """NVML's figure for this process; None where the driver does not tell (containers, WSL)."""
    import pynvml

    try:
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(device)
    except pynvml.NVMLError:
        return None
    own = next((p.usedGpuMemory for p in processes if p.pid == os.getpid()), None)
    return int(own) if own else None


def _reserved_with_context() -> int:
    """What torch holds plus the rest in use when this process is alone; never more than the device's use."""
    free, total = torch.cuda.mem_get_info()
    return int(min(total - free, torch.cuda.memory_reserved() + _context_bytes()))


_context: int | None = None


def _context_bytes() -> int:
    """Device memory in use beside torch's, as first seen: the CUDA context and its libraries.

    Others on the same device would be counted too, so an implausible size is taken as 500 MiB.
    """
    global _context
    if _context is None:
        free, total = torch.cuda.mem_get_info()
        beside = total - free - torch.cuda.memory_reserved()
        _context = beside if 0 <= beside < 1 << 30 else 500 << 20
    return _context
