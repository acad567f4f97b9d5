"""Room on the disk: whether a checkpoint fits, and what to say when one could not be written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from kto_tui.core.errors import UserError, one_line
from kto_tui.core.events import AlertRaised
from kto_tui.core.sizes import format_size

_WORDS = (
    "PytorchStreamWriter",
    "unexpected pos",
    "open file failed",
    "Parent directory",
    "(os error ",
)
_MARGIN = 1.02  # File systems need some room beside the files' own.


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write on the folder's disk."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raise OSError (ENOSPC) if so many bytes do not fit on the folder's disk."""
    if free_bytes(folder) < _MARGIN * needed_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def check_before_training(folder: Path, needed_bytes: int, missing: int) -> AlertRaised | None:
    """Raise UserError if not even one checkpoint fits; an alert if fewer fit than `missing`, how many more
    the run is going to hold."""
    free, needed = free_bytes(folder), _MARGIN * needed_bytes
    if free < needed:
        raise UserError(
            f"--output-dir {folder}: a checkpoint needs {format_size(needed_bytes)}, and {format_size(free)} "
            "are free; make room, or choose another --output-dir"
        )
    if free >= needed * missing:
        return None
    return AlertRaised(
        kind="disk_tight",
        severity="warning",
        message=f"{missing} checkpoints of {format_size(needed_bytes)} are still to come, and "
        f"{format_size(free)} are free in {folder}",
        advice="Make room, or lower --save-total-limit.",
    )


def save_failed(step: int, path: Path, error: Exception, words: str, needed_bytes: int) -> AlertRaised:
    """A checkpoint could not be written, for this reason in words."""
    try:
        free = f"it needs {format_size(needed_bytes)}, and {format_size(free_bytes(path.parent))} are free"
    except OSError as unknown:
        free = f"the disk does not tell how much is free ({one_line(unknown)})"
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    mend = "Make room on the disk" if full else "See to the disk"
    return AlertRaised(
        kind="checkpoint_failed",
        severity="error",
        message=f"{path.name} could not be written: {words}; {free}",
        advice=f"Training goes on, older checkpoints stay. {mend}; the next save tries again.",
        step=step,
    )


def is_disk_failure(error: BaseException) -> bool:
    """Whether an exception, be it torch's or safetensors' own, stands for a failed write."""
    if isinstance(error, (OSError, SafetensorError)):
        return True
    # torch raises RuntimeError, tokenizers a plain Exception.
    library = isinstance(error, RuntimeError) or type(error) is Exception
    return library and any(words in str(error) for words in _WORDS)


def as_os_error(error: Exception) -> OSError:
    """A library's failed write as the operating system tells it."""
    if isinstance(error, OSError):
        return error
    words = " ".join(str(error).split())
    full = os.strerror(errno.ENOSPC)
    return OSError(errno.ENOSPC, full) if full in words else OSError(words)


@contextmanager
def writing(what: str, folder: Path) -> Iterator[None]:
    """A failed write of `what` is told with what is free in `folder`. Raises OSError."""
    try:
        yield
    except Exception as error:
        if not is_disk_failure(error):
            raise
        failure = as_os_error(error)
        free = f"{format_size(free_bytes(folder))} are free in {folder}"
        raise OSError(f"{what} could not be written: {failure.strerror or failure}; {free}") from error
