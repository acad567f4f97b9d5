"""Disks that are full, read-only or failing, as the kernel really has them."""

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil


class CannotMount(Exception):
    """This machine does not let us mount; the message says why."""


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A tmpfs at `folder`; after a failure, what is on it is copied beside it. Raises CannotMount."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotMount("there is no mount command") from None
    if done.returncode:
        raise CannotMount(done.stderr.strip() or f"mount ended with {done.returncode}")
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):  # The failure itself is what matters.
            shutil.copytree(folder, f"{folder}-kept", ignore=shutil.ignore_patterns("ballast"))
        raise
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int) -> Path:
    """A ballast file that takes all of the disk but for so many bytes."""
    ballast = folder / "ballast"
    block = b"\0" * 4096
    with ballast.open("wb", buffering=0) as file:
        while _free(folder) > leave_bytes:
            try:
                file.write(block * max(1, min(256, (_free(folder) - leave_bytes) // 4096)))
            except OSError:
                break
    return ballast


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def limit_file_size(process: psutil.Process, limit_bytes: int | None) -> None:
    """Writes of this process beyond so many bytes of a file fail (EFBIG); None: as before. Needs no root."""
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    soft = hard if limit_bytes is None else limit_bytes
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))
