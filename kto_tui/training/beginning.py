"""What training begins with: a bare base, or a base and an adapter on it that is trained on.

Of the adapter the run keeps a copy, `reference_adapter/`: its own changes with each step, and the reference
stays what it was.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kto_tui.core.compatibility import ADAPTER_CONFIG
from kto_tui.core.config import TINY_MODEL, RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.core.manifest import describe
from kto_tui.models.adapter import WEIGHTS, Adapter, Kept, kept_in, trainable_adapter
from kto_tui.models.folder import MARKER, adapted_revision, kept_base, read_json
from kto_tui.training.space import writing

# Settings, weights, and whatever a tokenizer is read from; not the optimizer of a checkpoint.
_KEPT = (
    *(ADAPTER_CONFIG, WEIGHTS, "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json"),
    *("added_tokens.json", "chat_template*", "*.tiktoken"),
)


@dataclass(frozen=True)
class Beginning:
    """`config`: the settings, whose model is the bare base; `adapter`: the run's copy of what is on it."""

    config: RunConfig
    adapter: Path | None = None


def beginning_of(config: RunConfig) -> Beginning:
    """What `config.model` comes to. Copies its adapter into the run, and the base that its run has kept.

    Raises UserError.
    """
    assert config.output_dir is not None
    directory = RunDirectory.at(config.output_dir)
    if (kept := _kept(config, directory)) is None:
        if (adapter := _given(config)) is None:
            return Beginning(config)
        kept = _keep(config, directory, adapter)
    return Beginning(_on(kept, config), directory.reference_adapter)


def on_base(config: RunConfig) -> RunConfig:
    """The settings, with the name of the base in place of an adapter that the run has kept."""
    kept = kept_in(RunDirectory.at(str(config.output_dir)).reference_adapter, config.model)
    return _on(kept, config) if kept else config


def pin(adapter: Path, revision: str | None) -> None:
    """Note at which commit of the hub its base was found, for the sittings that follow. Raises OSError."""
    marker = read_json(adapter / MARKER)
    if revision and marker.get("revision") != revision:
        (adapter / MARKER).write_text(json.dumps({**marker, "revision": revision}), encoding="utf-8")


def adapter_digest(adapter: Path) -> str:
    """64 hex digits that stand for what an adapter computes."""
    digest = hashlib.sha256((adapter / ADAPTER_CONFIG).read_bytes())
    with (adapter / WEIGHTS).open("rb") as file:
        digest.update(hashlib.file_digest(file, hashlib.sha256).digest())
    return digest.hexdigest()


def _on(kept: Kept, config: RunConfig) -> RunConfig:
    return msgspec.structs.replace(config, model=kept.base, model_revision=kept.revision)


def _given(config: RunConfig) -> Adapter | None:
    if config.model == TINY_MODEL:
        return None
    return trainable_adapter(Path(os.path.expanduser(str(config.model))))


def _kept(config: RunConfig, directory: RunDirectory) -> Kept | None:
    """Of the adapter that an earlier sitting kept here, or the run that this one branches off from."""
    own, checkpoint = directory.reference_adapter, config.resume_from_checkpoint
    if checkpoint and kept_in(own, config.model) is None:
        home = RunDirectory(Path(checkpoint).parent)
        kept = kept_in(home.reference_adapter, config.model)
        if kept and home.path.resolve() != directory.path.resolve():
            _copy(home.reference_adapter, own, config, kept)
    return kept_in(own, config.model)


def _keep(config: RunConfig, directory: RunDirectory, adapter: Adapter) -> Kept:
    """Copy the adapter, and a base that only its run has. Raises UserError."""
    beside = kept_base(adapter.folder, adapter.base)
    base = str(read_json(beside / MARKER)["model"]) if beside else _absolute(adapter.base)
    kept = Kept(base, None if beside else adapted_revision(adapter.folder))
    try:
        with writing("a copy of the adapter and its base", directory.path):
            if beside and beside.resolve() != directory.base_model.resolve():
                _in_place(beside, directory.base_model)
            _copy(adapter.folder, directory.reference_adapter, config, kept)
    except OSError as error:
        raise UserError(
            f"--output-dir {directory.path}: {error}; make room, or choose another folder"
        ) from error
    return kept


def _copy(adapter: Path, to: Path, config: RunConfig, kept: Kept) -> None:
    """Copy what is needed of an adapter, put it in its place whole, and say last of which model it is."""
    names = {path.name for pattern in _KEPT for path in adapter.glob(pattern)}
    _in_place(adapter, to, lambda _, entries: [entry for entry in entries if entry not in names])
    marker = {"model": config.model, "base": kept.base, "revision": kept.revision}
    (to / MARKER).write_text(json.dumps(marker), encoding="utf-8")


def _in_place(theirs: Path, own: Path, ignore: Callable[[str, list[str]], list[str]] | None = None) -> None:
    beside = own.with_name(f"{own.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(theirs, beside, ignore=ignore)
    describe(beside)  # Reads each file back and has it reach the disk.
    beside.rename(own)


def _absolute(name: str) -> str:
    """The full path of what lies on this machine; anything else as it is."""
    path = os.path.expanduser(name)
    return os.path.abspath(path) if os.path.exists(path) else name
