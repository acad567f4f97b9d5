"""The real dashboard over any folder with a journal, without the command line.

python -m tests.ui.fake_dashboard DIR [--dead] [--raise]
"""

import argparse
import sys
from pathlib import Path

from kto_tui.core.commands import Command, CommandName, append_command, new_command
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.ui.app import DashboardApp


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--dead", action="store_true", help="nobody holds the run's lock")
    parser.add_argument("--raise", dest="broken", action="store_true", help="the journal cannot be read")
    options = parser.parse_args()
    run = RunDirectory(options.directory)

    def send(name: CommandName) -> Command:
        command = new_command(name)
        append_command(run.commands, command)
        return command

    class Broken:
        def read_events(self) -> list[object]:
            raise RuntimeError("the fake journal is broken")

        def close(self) -> None:
            pass

    app = DashboardApp(
        run,
        RunConfig(model="mistralai/Mistral-7B-Instruct-v0.3", dataset="train.jsonl"),
        alive=lambda: not options.dead,
        send=None if options.dead else send,
        source=Broken() if options.broken else None,  # type: ignore[arg-type]
    )
    print("outcome:", app.run())
    sys.exit(app.return_code)


if __name__ == "__main__":
    main()
