"""The commands of the terminal. Each part is imported only when its command runs."""

import os
import sys
from collections.abc import Sequence

from kto_tui.core.errors import UserError, printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong request, 128 + signal."""
    try:
        code = _dispatch(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"kto-tui: {printable(str(error))}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # Whoever read our output has seen enough.
        _silence()
        return 0


def _silence() -> None:
    """Nothing more can be printed: spare the interpreter from trying at its exit."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())


def _dispatch(arguments: Sequence[str]) -> int:
    from kto_tui.cli.parser import parse

    options = parse(arguments)
    match options.pop("command"):
        case "attach":
            from kto_tui.cli.attach import attach

            return attach(options.get("run_dir"), no_ui=options["no_ui"])
        case "runs":
            from kto_tui.cli.look import list_runs

            return list_runs(options["root"])
        case "plan":
            from kto_tui.cli.look import show_plan

            return show_plan(options)
        case "check-data":
            from kto_tui.cli.check_data import check_data

            return check_data(options)
        case "chat":
            from kto_tui.cli.chat import chat

            return chat(options)
        case "export":
            from kto_tui.cli.export import export

            return export(options)
        case "export-config":
            from kto_tui.cli.export_config import export_config

            return export_config(options)
        case "supervise":
            from kto_tui.cli.start import supervise

            return supervise(
                options["run_dir"],
                options.get("resume_from_checkpoint"),
                allow_changed=options.get("allow_changed_settings", False),
            )
        case "completion":
            from kto_tui.cli.parser import print_completion

            return print_completion(options["shell"])
        case _:
            from kto_tui.cli.start import start

            return start(options)
