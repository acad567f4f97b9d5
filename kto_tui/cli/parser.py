"""The command line, made from the settings as core declares them."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from kto_tui import __version__
from kto_tui.cli.commands import add_commands
from kto_tui.cli.options import add_run_options
from kto_tui.core.errors import UserError

_COMMANDS = ("attach", "runs", "plan", "check-data", "chat", "export", "export-config", "completion")
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
    add_run_options(parser)
    if with_commands:
        add_commands(
            parser.add_subparsers(dest="command", title="other commands", metavar="COMMAND", prog="kto-tui")
        )
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


def print_completion(shell: str) -> int:
    """Print the completion script of a shell."""
    import shtab

    sys.stdout.write(shtab.complete(build_parser(), shell) + "\n")
    return 0
