"""The command line, made from the settings as core declares them."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from kto_tui import __version__
from kto_tui.core.config import GROUPS, START_ONLY, Setting, settings
from kto_tui.core.errors import UserError
from kto_tui.core.presets import preset_names

_COMMANDS = ("attach", "runs", "plan", "completion")
_SHELLS = ("bash", "zsh", "tcsh")
_EXAMPLES = """\
examples:
  kto-tui --model-size tiny                          a first look: any CPU, about a minute, no download
  kto-tui --model-size 7b --dataset rated.jsonl      train a 7B model by QLoRA on one 24 GB GPU
  kto-tui --no-ui --model-size 7b --dataset FILE     the same, printing the metrics table
  kto-tui attach                                     watch and steer the newest run that is alive
  kto-tui --resume-from-checkpoint latest --output-dir DIR     go on where a run stopped
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if (words := message.split())[:2] == ["unrecognized", "arguments:"] and words[2] in _COMMANDS:
            raise UserError(f"{words[2]}: a command comes first: kto-tui {words[2]} …")
        raise UserError(f"{message}; see {self.prog} --help")


def build_parser(*, with_commands: bool = True) -> argparse.ArgumentParser:
    """The whole command line: a run's options at the top, the other commands below."""
    parser = _Parser(
        prog="kto-tui",
        usage="kto-tui [OPTIONS]\n       kto-tui COMMAND [OPTIONS]",
        description="Fine-tune a language model with KTO, and watch and steer the run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--version", action="version", version=f"kto-tui {__version__}")
    _add_run_options(parser)
    if with_commands:
        _add_commands(parser.add_subparsers(dest="command", title="other commands", metavar="COMMAND"))
    return parser


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """What was asked, by name: `command` (run if none was named) and the options that were given."""
    first = arguments[0] if arguments else ""
    if first and not first.startswith("-") and first not in (*_COMMANDS, "supervise"):
        raise UserError(f"{first}: no such command; there are {', '.join(_COMMANDS)} (see kto-tui --help)")
    # Beside optional commands, argparse takes the value of an unknown option for a command's name.
    named = not first.startswith("-") or not {"-h", "--help"}.isdisjoint(arguments)
    found = vars(build_parser(with_commands=bool(first) and named).parse_args(arguments))
    return {"no_ui": False, **found, "command": found.get("command") or "run"}


def _add_commands(commands: Any) -> None:
    shared = {"allow_abbrev": False, "argument_default": argparse.SUPPRESS}
    attach = commands.add_parser(
        "attach", help="watch and steer a run that is alive; replay one that has ended", **shared
    )
    attach.add_argument("run_dir", nargs="?", metavar="RUN_DIR", help="default: the newest run alive")
    attach.add_argument("--no-ui", action="store_true", help="print the metrics table")
    runs = commands.add_parser("runs", help="every run below a folder: state, step, margin, checkpoints")
    runs.add_argument("root", nargs="?", metavar="ROOT", default=".", help="default: this folder")
    plan = commands.add_parser("plan", help="what would run: settings and data; starts nothing", **shared)
    _add_run_options(plan)
    completion = commands.add_parser("completion", help="print a completion script for your shell")
    completion.add_argument("shell", choices=_SHELLS)
    supervise = commands.add_parser("supervise", **shared)  # Started by kto-tui itself: not in the help.
    supervise.add_argument("run_dir")
    supervise.add_argument("--resume-from-checkpoint")
    supervise.add_argument("--allow-changed-settings", action="store_true")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    general = parser.add_argument_group("Run")
    general.add_argument("--config", metavar="FILE", help="YAML with any of these settings as keys")
    general.add_argument("--no-ui", action="store_true", help="stay in the foreground and print the table")
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for setting in settings().values():
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
    group.add_argument(setting.flag, metavar=metavar, help=text.replace("%", "%%"))


def print_completion(shell: str) -> int:
    """Print the completion script of a shell."""
    import shtab

    sys.stdout.write(shtab.complete(build_parser(), shell) + "\n")
    return 0
