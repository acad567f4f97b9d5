"""What can be said of a model or a data set on the Hugging Face hub, asked once and quickly."""

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from kto_tui.core.errors import UserError, printable
from kto_tui.models.folder import missing_part

Kind = Literal["model", "dataset"]

SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.tiktoken", "tokenizer.model*")
_LOG_IN = "set HF_TOKEN or run: hf auth login"
_REQUEST_SECONDS = 10.0
_DEADLINE_SECONDS = 14.0
_SNAPSHOTS = "snapshots"  # In the cache of a repository: a folder for each commit.
_REVISION = re.compile(r"[A-Za-z0-9][\w.+/-]*\Z")


class HubUnreachableError(Exception):
    """The hub did not answer, cannot answer now, or must not be asked: its text says which."""


def looks_like_path(name: str) -> bool:
    """Whether a name can only mean something on this machine."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


class HubFile(NamedTuple):
    """A file that the hub has, and the commit at which it has it, where it tells."""

    commit: str | None


def check_revision(revision: str) -> None:
    """Refuse what names no commit, branch or tag. Raises UserError."""
    if not _REVISION.match(revision) or ".." in revision:
        raise UserError(
            f"--model-revision {printable(revision)}: expected a commit, branch or tag of a model on the hub"
        )


def cached_model(name: str, revision: str | None = None) -> Path | None:
    """The folder of a model that lies whole in the hub's local cache. Raises UserError for no hub id."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=[*SMALL_FILES])
        )
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise explained(error, name, "model") from None
    return None if missing_part(folder) else folder


def commit_of(folder: Path) -> str | None:
    """The commit whose files a folder holds, for one of the hub's cache."""
    return folder.name if folder.parent.name == _SNAPSHOTS else None


def cached_commits(name: str) -> list[str]:
    """The commits of a model of which the local cache holds anything, the newest there first."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    repository = repo_folder_name(repo_id=name, repo_type="model")
    folder = Path(constants.HF_HUB_CACHE, repository, _SNAPSHOTS)
    try:
        with os.scandir(folder) as entries:
            held = [(entry.stat().st_mtime, entry.name) for entry in entries if entry.is_dir()]
    except OSError:  # Nothing of it was ever downloaded.
        return []
    return [commit for _, commit in sorted(held, reverse=True)]


def ask_hub(name: str, filename: str, kind: Kind, revision: str | None = None) -> HubFile | None:
    """The file of the hub's model or data set; None where that has no such file.

    One request without retries: the hub's own client would ask for half a minute and more.
    Raises UserError if the repository is gated or not there, HubUnreachableError if nobody answers.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    found: list[HubFile] = []

    def ask() -> None:
        url = hf_hub_url(name, filename, repo_type=kind, revision=revision)
        found.append(HubFile(get_hf_file_metadata(url, timeout=_REQUEST_SECONDS).commit_hash))

    error = _within_deadline(ask)
    if error is None:
        return found[0]
    if isinstance(error, RemoteEntryNotFoundError):
        return None
    raise explained(error, name, kind) from error


def explained(error: Exception, name: str, kind: Kind) -> Exception:
    """What the hub's client raised, as a UserError or HubUnreachableError; anything else as it is."""
    from huggingface_hub import errors

    what = "data set" if kind == "dataset" else kind
    who = f"--model {printable(name)}" if kind == "model" else printable(name)
    match error:
        case errors.GatedRepoError():
            return UserError(f"{who} is gated: accept its licence on the {what}'s page, then {_LOG_IN}")
        case errors.RepositoryNotFoundError():
            return UserError(f"{who}: the hub has no such {what}, or it is private; for that, {_LOG_IN}")
        case errors.RevisionNotFoundError():
            return UserError(f"{who}: the hub has no such revision of it; expected a commit, branch or tag")
        case errors.HFValidationError():
            pinned = "; a revision goes into --model-revision" if kind == "model" and "@" in name else ""
            return UserError(f"{who}: neither a path nor a hub id (owner/name){pinned}")
        case errors.OfflineModeIsEnabled():
            return HubUnreachableError("HF_HUB_OFFLINE is set")
        case errors.HfHubHTTPError(response=response) if response.status_code in (401, 403):
            return UserError(f"{who}: the hub refuses it (HTTP status {response.status_code}); {_LOG_IN}")
        case errors.HfHubHTTPError(response=response):
            return HubUnreachableError(f"the hub answers with HTTP status {response.status_code}")
        case errors.HTTPError() | OSError():  # type: ignore[attr-defined]  # The transport's base class.
            return HubUnreachableError("the hub cannot be reached")
    return error


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
