"""A file of torch's in a checkpoint, read without carrying anything out that is pickled into it."""

import pickle
import pickletools
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.trainer_pt_utils import safe_globals

from kto_tui.core.errors import UserError
from kto_tui.training.oddity import odd, shown_value


def load(checkpoint: Path, file: str) -> Any:
    """What a file of tensors and numbers holds, mapped and not read. Raises UserError."""
    path = checkpoint / file
    if not _is_archive(path):
        raise _damaged(checkpoint, file)
    try:
        with safe_globals():  # type: ignore[no-untyped-call]
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise refused(str(checkpoint), file) from error
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError) as error:
        raise _damaged(checkpoint, file) from error


def refused(checkpoint: str | None, files: str) -> UserError:
    """Torch would have had to make something else of it than tensors and numbers."""
    return UserError(
        f"--resume-from-checkpoint {checkpoint}: {files} holds more than tensors and numbers, which is never "
        "loaded; resume from another checkpoint"
    )


def _damaged(checkpoint: Path, file: str) -> UserError:
    return odd(checkpoint, file, "a damaged file", "an archive of torch's")


def _is_archive(path: Path) -> bool:
    """Whether it is an archive as torch writes it, with a pickle in it: parsed, and not carried out."""
    try:
        with zipfile.ZipFile(path) as archive:
            (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            for _ in pickletools.genops(archive.read(pickled)):
                pass
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return False
    return True


def shape(value: Tensor) -> str:
    """Its shape in words, as 4x192."""
    return sized(tuple(value.shape))


def sized(shape: tuple[int, ...] | None) -> str:
    """A shape in words; None where there is no tensor."""
    return "nothing" if shape is None else "x".join(map(str, shape)) or "()"


def described(value: Any) -> str:
    """A tensor's shape and dtype; what stands in its place in a few words."""
    if not isinstance(value, Tensor):
        return "nothing" if value is None else shown_value(value)
    return f"{shape(value)} in {kind(value)}"


def kind(value: Tensor) -> str:
    """Its dtype by its short name."""
    return str(value.dtype).removeprefix("torch.")
