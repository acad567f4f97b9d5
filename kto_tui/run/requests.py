"""Requests as the supervisor takes them: from its own user alone."""

from pathlib import Path

from kto_tui.core.commands import Command, decode_command, make_private, refusal
from kto_tui.core.errors import one_line
from kto_tui.run.journal import LineFollower


class RequestReader(LineFollower):
    """Requests that come from now on. The file is made private if it can be.

    `problem` says why requests are not taken, None while they are: looked at whenever some come.
    """

    def __init__(self, path: Path) -> None:
        self.problem: str | None = None
        try:
            make_private(path)
        except OSError as error:
            self.problem = one_line(error)
        try:
            super().__init__(path, from_end=True)
        except OSError as error:
            self.problem = one_line(error)
            super().__init__(path)

    def read_commands(self) -> list[Command]:
        """The requests since the last look; none from a file that somebody else could have written."""
        try:
            lines = self.read_new()
        except OSError as error:
            self.problem = one_line(error)
            return []
        if not lines or self.descriptor is None:
            return []
        self.problem = refusal(self.descriptor)
        if self.problem is not None:
            return []
        commands = (decode_command(line) for line in lines)
        return [command for command in commands if command is not None]
