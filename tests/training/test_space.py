"""What the libraries that write a checkpoint raise when the disk fails them, each in its own way."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import BPE

from kto_tui.training.space import is_disk_failure, writing


def full(folder: Path) -> Path:
    """A file that takes nothing. A link: some libraries rename a file of theirs over what they are given."""
    link = folder / "full"
    link.symlink_to("/dev/full")
    return link


FAILED_WRITES: dict[str, tuple[Callable[[Path], object], type[BaseException], str]] = {
    "python": (lambda folder: (folder / "no" / "a").touch(), OSError, "No such file"),
    "tokenizers, full": (
        lambda folder: Tokenizer(BPE()).save(str(full(folder))),
        Exception,
        "(os error 28)",
    ),
    "tokenizers, folder gone": (
        lambda folder: Tokenizer(BPE()).save(str(folder / "no" / "a")),
        Exception,
        "(os error 2)",
    ),
    "torch, full": (
        lambda folder: torch.save(torch.zeros(99_999), full(folder)),
        RuntimeError,
        "unexpected pos",
    ),
    "torch, cannot be opened": (
        lambda folder: torch.save({}, folder),
        RuntimeError,
        "open file failed with strerror",
    ),
    "torch, folder gone": (
        lambda folder: torch.save({}, folder / "no" / "a"),
        RuntimeError,
        "Parent directory",
    ),
    "safetensors, folder gone": (
        lambda folder: save_file({"a": torch.zeros(9)}, folder / "no" / "a"),
        SafetensorError,
        "I/O error",
    ),
}


@pytest.mark.parametrize("name", FAILED_WRITES)
def test_a_failed_write_is_known_as_one(name: str, tmp_path: Path) -> None:
    write, kind, words = FAILED_WRITES[name]
    with pytest.raises(kind) as raised:
        write(tmp_path)
    assert words in str(raised.value)
    assert is_disk_failure(raised.value)


@pytest.mark.parametrize("name", FAILED_WRITES)
def test_it_is_told_in_one_line_with_what_is_free(name: str, tmp_path: Path) -> None:
    write, *_ = FAILED_WRITES[name]
    with (
        pytest.raises(OSError, match=r"^the card could not be written: .*; [\d.]+ .?B are free in ") as told,
        writing("the card", tmp_path),
    ):
        write(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("size mismatch for lora_A.weight"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        ValueError("open file failed"),
        KeyError("Parent directory"),
        Exception("the tokenizer has no vocabulary"),
    ],
    ids=str,
)
def test_what_else_goes_wrong_is_no_failed_write(error: Exception, tmp_path: Path) -> None:
    assert not is_disk_failure(error)
    with pytest.raises(type(error)) as raised, writing("the card", tmp_path):
        raise error
    assert raised.value is error
