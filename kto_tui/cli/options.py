"""The settings of a run as options of the command line."""

import argparse
from collections.abc import Collection, Sequence
from typing import Any

from kto_tui.core.config import GROUPS, START_ONLY, settings
from kto_tui.core.presets import preset_names
from kto_tui.core.setting import LISTS, Setting


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what a run may be given."""
    general = parser.add_argument_group("Run")
    general.add_argument("--config", metavar="FILE", help="YAML with any of these settings as keys")
    general.add_argument("--no-ui", action="store_true", help="stay in the foreground and print the table")
    add_settings(parser, GROUPS)


def add_settings(
    parser: argparse.ArgumentParser, names: Sequence[str], without: Collection[str] = ()
) -> None:
    """The settings of these groups, as options, but for some."""
    groups = {name: parser.add_argument_group(name) for name in names}
    for setting in settings().values():
        if setting.doc.group in groups and setting.name not in without:
            _add_setting(groups[setting.doc.group], setting)


def _add_setting(group: Any, setting: Setting) -> None:
    if setting.name in START_ONLY and setting.is_switch:
        group.add_argument(setting.flag, action="store_true", help=setting.doc.text)
        return
    if setting.is_switch:
        group.add_argument(setting.flag, action=argparse.BooleanOptionalAction, help=setting.doc.text)
        return
    text = setting.doc.text
    if setting.name == "model_size":
        text += ": " + ", ".join(preset_names())
    elif setting.default is not None:
        text += f" (default: {setting.default})"
    metavar = "{" + ",".join(setting.choices) + "}" if setting.choices else setting.doc.metavar or "X"
    action = "append" if setting.name in LISTS else "store"
    group.add_argument(setting.flag, metavar=metavar, action=action, help=text.replace("%", "%%"))
