"""From an adapter to its base, and from there on, until there is a whole model."""

import os
from dataclasses import dataclass
from pathlib import Path

from kto_tui.core.config import TINY_MODEL
from kto_tui.core.errors import UserError, printable
from kto_tui.models.folder import DEEPEST, adapted_base, adapted_revision, kept_base
from kto_tui.models.hub import check_revision, looks_like_path


@dataclass(frozen=True)
class Chain:
    """The whole model at the end of a name, and the adapters that come before it, outermost first.

    `name` is the base's, as its adapter or the user gave it; `path`: its folder or GGUF file, None for one of
    the hub or the built-in one. `revision`: the commit, branch or tag of the hub that is meant, if one is.
    `kept`: the folder is the copy that a run has made of its base.
    """

    name: str
    path: Path | None
    revision: str | None = None
    adapters: tuple[Path, ...] = ()
    named: tuple[str, ...] = ()
    kept: bool = False

    def blaming(self, error: UserError) -> UserError:
        """What is wrong with the base, said of the adapters that need it."""
        for adapter, base in zip(reversed(self.adapters), reversed(self.named), strict=True):
            error = adapter_without_base(adapter, base, error)
        return error


def adapter_without_base(adapter: Path, base: str, reason: UserError) -> UserError:
    """What to say of an adapter whose base cannot be had."""
    why = str(reason).removeprefix(f"--model {printable(base)}").lstrip(": ")
    return UserError(
        f"--model {printable(str(adapter))} holds an adapter of {printable(base)}, and of that: {why}"
    )


def follow(model: str, revision: str | None = None) -> Chain:
    """Walk from a name to the whole model that it comes to. Nothing is asked of the hub.

    Raises UserError: no such folder, an adapter that names no base, adapters without an end.
    """
    if revision is not None:
        check_revision(revision)
    chain = Chain(model, _path_of(model, revision), revision)
    while (further := _next(chain)) is not None:
        chain = further
    return chain


def _next(chain: Chain) -> Chain | None:
    adapter = chain.path
    try:
        base = adapted_base(adapter) if adapter is not None and adapter.is_dir() else None
        if adapter is None or base is None:
            return None
        if len(chain.adapters) == DEEPEST:
            name = printable(str(adapter))
            raise UserError(f"--model {name}: an adapter of an adapter of an adapter, and on")
    except UserError as error:
        raise chain.blaming(error) from None
    behind = (*chain.adapters, adapter), (*chain.named, base)
    if kept := kept_base(adapter, base):
        return Chain(base, kept, None, *behind, kept=True)
    further = Chain(base, None, adapted_revision(adapter), *behind)
    try:
        return Chain(base, path, None, *behind) if (path := _path_of(base)) else further
    except UserError as error:
        raise further.blaming(error) from None


def _path_of(model: str, revision: str | None = None) -> Path | None:
    """Where the model lies on this machine; None if its name is for the hub. Raises UserError."""
    path = Path(os.path.expanduser(model))
    if model and model != TINY_MODEL and os.path.exists(path):  # Unlike Path.exists, raises for no name.
        if revision is not None:
            raise UserError(
                f"--model-revision {printable(revision)}: it is for a model of the hub, and --model "
                f"{printable(model)} lies on this machine; leave it out"
            )
        return path
    if not model or looks_like_path(model):
        raise UserError(f"--model {printable(model)}: no such folder; give a folder or a hub id (owner/name)")
    if model == TINY_MODEL and revision is not None:
        raise UserError(f"--model-revision {printable(revision)}: it is for a model of the hub; leave it out")
    return None
