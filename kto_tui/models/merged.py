"""The mark in a merged model's folder: of which adapter it is, so that it need not be made twice."""

import hashlib
import json
from pathlib import Path

from kto_tui.core.directory import MERGED_MARKER
from kto_tui.models.folder import ADAPTER_WEIGHTS, missing_part, read_json

MARKER = MERGED_MARKER


def mark_merged(folder: Path, adapter: Path, model: str | None, dtype: str) -> None:
    """Say in `folder` that it is this adapter merged into `model`. Raises OSError."""
    mark = {"adapter": _digest(adapter), "model": model, "dtype": dtype}
    (folder / MARKER).write_text(json.dumps(mark), encoding="utf-8")


def merged_dtype(folder: Path, adapter: Path, model: str | None) -> str | None:
    """The dtype in which `folder` holds this adapter merged into `model`; None if it holds something else."""
    mark = read_json(folder / MARKER)
    if not mark or missing_part(folder):
        return None
    same = (mark.get("adapter"), mark.get("model")) == (_digest(adapter), model)
    return str(mark.get("dtype")) if same else None


def _digest(adapter: Path) -> str:
    with (adapter / ADAPTER_WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()
