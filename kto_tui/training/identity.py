"""What a run is trained on beside its settings: by these names a resume notices that it is another one."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.core.setting import AUTO
from kto_tui.data.survey.balance import balanced_weights
from kto_tui.training.card import hub_id
from kto_tui.training.resumed import accumulators

_WEIGHTS = ("*.safetensors", "*.bin")
_CONFIG = "config.json"
_SAVER = ("transformers_version", "_name_or_path")  # Who wrote it, and not what it is.
_SAMPLE_BYTES = 256
_SAMPLES = 256
_HEADER_LIMIT = 100 << 20


def base_fingerprint(folder: Path) -> str:
    """A name of a base model: its config, the names and sizes of its weight files, samples of their bytes.

    Of each tensor in safetensors the middle is taken, of other files 256 places, so that a model of many
    gigabytes takes milliseconds. Raises OSError.
    """
    digest = hashlib.sha256(_config_of(folder))
    for path in sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(f"\0{path.name}\0{size}\0".encode())
            packed = path.suffix == ".safetensors"
            for part in _safetensors(file.fileno()) if packed else _spread(file.fileno(), size):
                digest.update(part)
    return digest.hexdigest()


def resolved(
    config: RunConfig, *, quantization: str, dtype: str, optim: str, rows: tuple[int, int]
) -> dict[str, Any]:
    """What settings that are `auto` come to, by name, for `core/changes.py` to compare with at a resume.

    `optim` as transformers names it; `rows`: how many are desirable and undesirable.
    """
    found = {"quantization": quantization, "dtype": dtype, "optim": optim.removesuffix("_fused")}
    told: dict[str, Any] = {name: value for name, value in found.items() if getattr(config, name) == AUTO}
    return {**told, "class_weights": list(balanced_weights(*rows))}


def require_same(resumed: Path, config: RunConfig, identity: Mapping[str, str | None]) -> None:
    """Raise UserError if the checkpoint was trained on other rows or another base than those of `identity`.

    What an older checkpoint does not say passes. The rows that are evaluated on count where they decide
    when the run ends.
    """
    saved = accumulators(resumed)
    template = (
        f", or what --chat-template {config.chat_template} makes of them," if config.chat_template else ""
    )
    words = {
        "data": f"the rows of {config.dataset}{template} are not those that it was trained on",
        "base": f"what {config.model} (or the run's own copy) holds, or how it is stored, is not what it was"
        " trained on" + (", whose commit --model-revision can name" if hub_id(config.model) else ""),
        "evaluation_data": "the rows of "
        f"{config.eval_dataset or f'--eval-fraction {config.eval_fraction}'} are not those that it was "
        "evaluated on, and --early-stopping-patience goes by them",
    }
    if config.early_stopping_patience is None:
        del words["evaluation_data"]
    for name, changed in words.items():
        if saved.get(name) not in (None, identity.get(name)):
            raise UserError(
                f"--resume-from-checkpoint {resumed}: {changed}; restore them, or add "
                "--allow-changed-settings to go on with others"
            )


def _config_of(folder: Path) -> bytes:
    """The content of config.json, without what only tells who wrote it."""
    text = (folder / _CONFIG).read_bytes()
    config: Any = json.loads(text)
    if isinstance(config, dict):
        config = {name: value for name, value in config.items() if name not in _SAVER}
    return json.dumps(config, sort_keys=True).encode()


def _safetensors(file: int) -> Iterator[bytes]:
    """Where each tensor lies, and some bytes of its middle."""
    length = int.from_bytes(os.pread(file, 8, 0), "little")
    header: dict[str, Any] = json.loads(os.pread(file, min(length, _HEADER_LIMIT), 8))
    header.pop("__metadata__", None)
    yield json.dumps(header, sort_keys=True).encode()
    for name in sorted(header):
        start, end = header[name]["data_offsets"]
        yield os.pread(file, _SAMPLE_BYTES, 8 + length + max(start, (start + end - _SAMPLE_BYTES) // 2))


def _spread(file: int, size: int) -> Iterator[bytes]:
    """Some bytes at places spread evenly over the file."""
    for place in range(0, size, max(1, size // _SAMPLES)):
        yield os.pread(file, _SAMPLE_BYTES, place)
