"""A part of a benchmark in a process of its own, so that its time and its memory are its own."""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil

Order = TypeVar("Order", bound=msgspec.Struct)
Answer = TypeVar("Answer", bound=msgspec.Struct)

_STATUS = Path("/proc/self/status")
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class ChildFailed(Exception):
    """A child ended without an answer; the message holds the end of what it wrote."""


def ask(module: str, order: msgspec.Struct, answer: type[Answer], *, device: str = "cpu") -> Answer:
    """What `python -m module ORDER` answers. The child sees one GPU, or none where `device` is cpu.

    Raises ChildFailed.
    """
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] if device == "cuda" else ""
    done = subprocess.run(
        [sys.executable, "-m", module, msgspec.json.encode(order).decode()],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **_QUIET, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": gpu},
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise ChildFailed(f"{module} ended with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    return msgspec.json.decode(lines[-1], type=answer)


def serve(work: Callable[[Order], msgspec.Struct], order: type[Order]) -> None:
    """The child's side of `ask`: the answer is the last line, after whatever the libraries print."""
    answer = work(msgspec.json.decode(sys.argv[1], type=order))
    sys.stdout.write(f"\n{msgspec.json.encode(answer).decode()}\n")


def discard(folder: Path) -> None:
    """Remove what a child wrote, if it wrote anything there."""
    shutil.rmtree(folder, ignore_errors=True)


def process_seconds() -> float:
    """How long this process has been alive, its imports included."""
    return time.time() - psutil.Process().create_time()


def peak_resident_bytes() -> int:
    """The most memory that this program had resident. Linux's ru_maxrss would count its parent's too."""
    if _STATUS.is_file():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
