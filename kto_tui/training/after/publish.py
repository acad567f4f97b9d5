"""An adapter or a merged model on the hub."""

import shutil
import tempfile
from pathlib import Path

from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.models.merged import MARKER
from kto_tui.training.after.base import name_base, other_base
from kto_tui.training.after.pipe import Pipe
from kto_tui.training.card import adapter_card, hub_id, merged_card

_LOG_IN = "set HF_TOKEN to a token that may write, or run: hf auth login"
# What goes along with an adapter. Optimizer, random states and the run's settings stay here.
_ADAPTER_FILES = (
    *("adapter_config.json", "adapter_model.safetensors", "tokenizer*", "chat_template.jinja", "vocab.*"),
    *("merges.txt", "special_tokens_map.json", "added_tokens.json"),
)


def require_public_base(config: RunConfig) -> str:
    """The base's hub id. Raises UserError where nobody else could load the adapter."""
    base = hub_id(config.model)
    if base is None:
        raise UserError(
            f"--push-to-hub: the adapter's base, {printable(str(config.model))}, is not on the hub, so that "
            "nobody could load it; add --merge to upload the whole model"
        )
    return base


def publish_adapter(
    pipe: Pipe, config: RunConfig, adapter: Path, training: str, repo: str, *, public: bool
) -> None:
    """Upload the adapter and its tokenizer, with a card that names the repository. Raises UserError."""
    base = require_public_base(config)
    with tempfile.TemporaryDirectory(prefix="kto-tui-") as passing:
        folder = Path(passing)
        for pattern in _ADAPTER_FILES:
            for path in adapter.glob(pattern):
                shutil.copyfile(path, folder / path.name)
        name_base(folder, base)
        notes = other_base(config, RunDirectory.at(str(config.output_dir)).base_model)
        for note in notes:
            pipe.say("noted", message=note)
        card = adapter_card(
            config, training, title=repo.partition("/")[2], base=base, adapter=repo, notes=notes
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
        _upload(pipe, folder, repo, public=public)


def publish_merged(
    pipe: Pipe, config: RunConfig, merged: Path, training: str, repo: str, dtype: str, *, public: bool
) -> None:
    """Upload the merged model, with a card that names the repository. Raises UserError."""
    card = merged_card(config, training, title=repo.partition("/")[2], folder=repo, dtype=dtype)
    _upload(pipe, merged, repo, public=public, card=card)


def require_access(repo: str, *, public: bool) -> str:
    """Make the repository, private unless asked otherwise, and see that it may be written: its owner/name.

    To be asked before anything takes long. One that is public already is refused, unless it is to be.
    Raises UserError.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        name = str(api.create_repo(repo, private=not public, exist_ok=True).repo_id)
        api.auth_check(name, write=True)
        private = api.model_info(name).private
    except Exception as error:
        raise _explained(error, repo) from error
    if private is False and not public:
        raise UserError(
            f"--push-to-hub {repo}: the repository is public; add --public if that is meant, or name another"
        )
    return name


def _upload(pipe: Pipe, folder: Path, repo: str, *, public: bool, card: str | None = None) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi

    pipe.progress(0, 0, f"uploading to {repo}")
    operations = [
        CommitOperationAdd(path.name, card.encode() if card and path.name == "README.md" else path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MARKER
    ]
    try:
        done = HfApi().create_commit(repo, operations, commit_message="Upload from kto-tui")
    except Exception as error:
        raise _explained(error, repo) from error
    pipe.say("published", repo=repo, url=str(done.repo_url), public=public)


def _explained(error: Exception, repo: str) -> Exception:
    """What the hub's client raised, as a UserError; anything that is not the hub's doing as it is."""
    from huggingface_hub import errors

    where = f"--push-to-hub {printable(repo)}"
    match error:
        case errors.HFValidationError():
            return UserError(f"{where}: no name of a repository; expected owner/name")
        case errors.OfflineModeIsEnabled():
            return UserError(f"{where}: HF_HUB_OFFLINE is set, so nothing can be uploaded")
        case errors.LocalTokenNotFoundError():
            return UserError(f"{where}: no token; {_LOG_IN}")
        case errors.HfHubHTTPError(response=response) if response.status_code in (401, 403):
            return UserError(f"{where}: the hub refuses it (HTTP status {response.status_code}); {_LOG_IN}")
        case errors.HfHubHTTPError(response=response):
            words = one_line(error)[:200]
            return UserError(f"{where}: the hub answers with HTTP status {response.status_code}; {words}")
        case errors.HTTPError() | OSError():  # type: ignore[attr-defined]  # The transport's base class.
            return UserError(f"{where}: the hub cannot be reached ({one_line(error)[:200]})")
    return error
