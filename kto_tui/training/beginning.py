"""What training begins with: a bare base, or a base and an adapter on it that is trained on.

Of the adapter the run keeps a copy, `reference_adapter/`: its own changes with each step, and the reference
stays what it was.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kto_tui.core.compatibility import ADAPTER_CONFIG, same_source
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError, printable
from kto_tui.models.adapter import Adapter, trained_on
from kto_tui.models.folder import ADAPTER_WEIGHTS, MARKER, adapted_revision, kept_base, read_json
from kto_tui.models.kept import Kept, kept_beginning, kept_in
from kto_tui.training.copying import copy_folder, into_run, mark
from kto_tui.training.resumed import accumulators

# Settings, weights, and whatever a tokenizer is read from; not the optimizer of a checkpoint.
_KEPT = (
    *(ADAPTER_CONFIG, ADAPTER_WEIGHTS, "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json"),
    *("added_tokens.json", "chat_template*", "*.tiktoken"),
)


@dataclass(frozen=True)
class Beginning:
    """`config`: the settings, whose model is the bare base; `adapter`: the folder of what is on it."""

    config: RunConfig
    adapter: Path | None = None


def beginning_of(config: RunConfig, trained: Path | None = None) -> Beginning:
    """What `config.model` comes to.

    A run that is to be trained takes a copy of the adapter, and of a base that only the adapter's run has.
    `trained`: the folder of what was trained already, of which no copy is needed. Raises UserError.
    """
    assert config.output_dir is not None
    own = RunDirectory.at(config.output_dir).reference_adapter
    kept, keeps = kept_beginning(config), trained is None
    if kept is None:
        if trained is not None and _is_of(trained, config):
            return Beginning(config)
        if (adapter := trained_on(config)) is None:
            return Beginning(config)
        kept = _keep(config, adapter) if keeps else _as_it_lies(adapter)
    elif keeps and kept.folder != own:
        _copy(kept, own, config)
    return Beginning(_on(kept, config), own if keeps else kept.folder)


def on_base(config: RunConfig, trained: Path) -> RunConfig:
    """The settings, with the name of the base in place of an adapter that the run began with."""
    return beginning_of(config, trained).config


def pin(adapter: Path, revision: str | None) -> None:
    """Note at which commit of the hub its base was found, for the sittings that follow. Raises OSError."""
    marker = read_json(adapter / MARKER)
    if revision and marker and marker.get("revision") != revision:
        mark(adapter, {**marker, "revision": revision})


def adapter_digest(adapter: Path) -> str:
    """64 hex digits that stand for what an adapter computes."""
    digest = hashlib.sha256((adapter / ADAPTER_CONFIG).read_bytes())
    with (adapter / ADAPTER_WEIGHTS).open("rb") as file:
        digest.update(hashlib.file_digest(file, hashlib.sha256).digest())
    return digest.hexdigest()


def _is_of(trained: Path, config: RunConfig) -> bool:
    """Whether an adapter is one of `config.model` itself, be that an adapter too, and not begun with it."""
    return same_source(read_json(trained / ADAPTER_CONFIG).get("base_model_name_or_path"), config.model)


def _on(kept: Kept, config: RunConfig) -> RunConfig:
    return msgspec.structs.replace(config, model=kept.base, model_revision=kept.revision)


def _as_it_lies(adapter: Adapter) -> Kept:
    base = _absolute(adapter.base)
    return Kept(adapter.folder, base, None if os.path.exists(base) else adapted_revision(adapter.folder))


def _keep(config: RunConfig, adapter: Adapter) -> Kept:
    """Copy the adapter, and a base that only its run has. Raises UserError."""
    _require_same(config, adapter)
    directory = RunDirectory.at(str(config.output_dir))
    found = _as_it_lies(adapter)
    if beside := kept_base(adapter.folder, adapter.base):
        found = Kept(adapter.folder, str(read_json(beside / MARKER)["model"]), None)
        if beside.resolve() != directory.base_model.resolve():
            with into_run("a copy of the adapter's base", directory.path):
                copy_folder(beside, directory.base_model)
    _copy(found, directory.reference_adapter, config)
    kept = kept_in(directory.reference_adapter, config.model)
    assert kept is not None
    return kept


def _require_same(config: RunConfig, adapter: Adapter) -> None:
    """In a run that has lost its copy, take no other adapter than the one that it began with."""
    if config.resume_from_checkpoint is None:
        return
    told = str(accumulators(Path(config.resume_from_checkpoint)).get("base") or "").split()
    if len(told) > 1 and adapter_digest(adapter.folder) not in told:
        raise UserError(
            f"--model {printable(str(config.model))}: it holds another adapter than the one that the run "
            "began with, of which reference_adapter was the copy; restore one of the two"
        )


def _copy(adapter: Kept, to: Path, config: RunConfig) -> None:
    """Copy what is needed of an adapter, and say last of which model it is. Raises UserError."""
    names = {path.name for pattern in _KEPT for path in adapter.folder.glob(pattern)}
    with into_run("a copy of the adapter", to.parent):
        copy_folder(adapter.folder, to, names)
        mark(to, {"model": config.model, "base": adapter.base, "revision": adapter.revision})


def _absolute(name: str) -> str:
    """The full path of what lies on this machine; anything else as it is."""
    path = os.path.expanduser(name)
    return os.path.abspath(path) if os.path.exists(path) else name
