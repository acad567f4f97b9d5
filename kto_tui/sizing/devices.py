"""Devices to plan for: those that are named, and what is known of them."""

import re
from dataclasses import dataclass

from kto_tui.core.errors import UserError, printable
from kto_tui.sizing.memory import Kind

GIB = 1 << 30
# The driver keeps a little of a card for itself.
_USABLE = 0.98

# Memory in GiB, as NVML reports it: by the makers' data sheets.
GPUS = {
    "GTX 1080 Ti": 11,
    "RTX 2060": 6,
    "RTX 2070": 8,
    "RTX 2080": 8,
    "RTX 2080 Ti": 11,
    "RTX 3050": 8,
    "RTX 3060": 12,
    "RTX 3060 Ti": 8,
    "RTX 3070": 8,
    "RTX 3070 Ti": 8,
    "RTX 3080": 10,
    "RTX 3080 Ti": 12,
    "RTX 3090": 24,
    "RTX 3090 Ti": 24,
    "RTX 4060": 8,
    "RTX 4060 Ti": 8,
    "RTX 4070": 12,
    "RTX 4070 Ti": 12,
    "RTX 4070 Ti Super": 16,
    "RTX 4080": 16,
    "RTX 4090": 24,
    "RTX 5060": 8,
    "RTX 5060 Ti": 16,
    "RTX 5070": 12,
    "RTX 5070 Ti": 16,
    "RTX 5080": 16,
    "RTX 5090": 32,
    "RTX A4000": 16,
    "RTX A5000": 24,
    "RTX A6000": 48,
    "RTX 6000 Ada": 48,
    "T4": 15,
    "V100": 16,
    "P100": 16,
    "L4": 22,
    "L40S": 45,
    "A10": 22,
    "A10G": 22,
    "A40": 45,
    "A100": 40,
    "A100 80GB": 80,
    "H100": 80,
    "H200": 140,
}
# Cards before Ampere, which have no bfloat16.
_OLD = re.compile(r"\b(gtx|rtx 20\d\d|titan|tesla [kmpt]\w*|t4|v100|p100|p40|quadro)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Device:
    """A device to plan for, in bytes: all of its memory, and what this run may have of it."""

    name: str
    kind: Kind
    total_bytes: int
    available_bytes: int


def named_gpu(name: str) -> Device:
    """A GPU of the table, whatever stands before its name and however it is spaced. Raises UserError."""
    wanted = _plain(name)
    known = next((gpu for gpu in GPUS if _plain(gpu) == wanted), None)
    if known is None:
        raise UserError(
            f"--gpu {printable(name[:40])}: not known here; give its memory with --vram GIB, or one of "
            + ", ".join(GPUS)
        )
    return gpu_of(known, GPUS[known] * GIB)


def sized_gpu(gib: float) -> Device:
    """A GPU with so much memory, of a kind that has bfloat16. Raises UserError."""
    if not 0 < gib <= 10_000:
        raise UserError(f"--vram {gib:g}: expected the GPU's memory in GiB, such as 24")
    return gpu_of(f"a GPU with {gib:g} GiB", int(gib * GIB))


def gpu_of(name: str, total_bytes: int, used_bytes: int = 0) -> Device:
    """A GPU of which so much is in use by others."""
    kind: Kind = "old_cuda" if _OLD.search(name) else "cuda"
    return Device(name, kind, total_bytes, max(0, int(_USABLE * total_bytes) - used_bytes))


def _plain(name: str) -> str:
    words = re.sub(r"nvidia|geforce|tesla|\bgpu\b", " ", name.lower())
    return re.sub(r"[^a-z0-9]", "", words)
