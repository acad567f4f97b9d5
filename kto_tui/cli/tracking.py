"""Whether the trackers will take the metrics, told before anything is made, and without importing them.

Whether W&B has a login is told from its files and variables: importing it takes seconds, and it would refuse
by itself only after the model is loaded. Its rules are those of version 0.31.
"""

import configparser
import importlib.util
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

from kto_tui.core.config import RunConfig, trackers
from kto_tui.core.errors import UserError
from kto_tui.core.setting import shown
from kto_tui.core.trackers import EXPECTED, TRACKERS

# Two names of one service: keys are stored under the host that was the default at the time.
_CLOUD = ("api.wandb.ai", "api.forge.coreweave.com", "forge.coreweave.com")
_WITHOUT_LOGIN = ("offline", "dryrun", "disabled")


def check_trackers(config: RunConfig) -> None:
    """Refuse trackers that are not known, not installed, or (W&B) without a login. Raises UserError."""
    for name in trackers(config):
        if name not in TRACKERS:
            raise UserError(f"--report-to {shown(name)[1:-1]}: no such tracker; {EXPECTED}")
        flag = "--wandb" if config.wandb and name == "wandb" else f"--report-to {name}"
        if importlib.util.find_spec(name) is None:
            raise UserError(f"{flag}: the package is missing; install it with: pip install 'kto-tui[{name}]'")
        if name == "wandb":
            _check_login(flag)


def _check_login(flag: str) -> None:
    settings = _settings()
    if settings.get("mode") in _WITHOUT_LOGIN or settings.get("api_key"):
        return
    if os.environ.get("WANDB_IDENTITY_TOKEN_FILE") or _has_key_in_netrc(settings.get("base_url", "")):
        return
    raise UserError(f"{flag}: not logged in to W&B; run wandb login, or set WANDB_MODE=offline")


def _settings() -> dict[str, str]:
    """W&B's own settings: variables win over the file of the current folder, that over the user's."""
    user = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    folder = Path(".wandb" if Path(".wandb").exists() else "wandb")
    variables = {name: os.environ.get(f"WANDB_{name.upper()}") for name in ("mode", "base_url", "api_key")}
    given = {name: value for name, value in variables.items() if value}
    return {**_read(user / "settings"), **_read(folder / "settings"), **given}


def _read(path: Path) -> dict[str, str]:
    """The settings in one of W&B's files; a broken one counts for nothing, as it does for W&B."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, configparser.Error, UnicodeDecodeError):
        return {}
    return dict(parser["default"]) if parser.has_section("default") else {}


def _has_key_in_netrc(base_url: str) -> bool:
    host = urlsplit(base_url).netloc
    hosts = [host] if host and host not in _CLOUD else _CLOUD
    try:
        entries = netrc.netrc(_netrc_path())
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return False
    return any(entry[2] for host in hosts if (entry := entries.authenticators(host)))


def _netrc_path() -> Path:
    if named := os.environ.get("NETRC"):
        return Path(named).expanduser()
    usual, windows = Path("~/.netrc").expanduser(), Path("~/_netrc").expanduser()
    return windows if windows.exists() and not usual.exists() else usual
