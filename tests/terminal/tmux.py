"""A real terminal to drive: a tmux session of its own server."""

import os
import re
import shutil
import subprocess
import time
import uuid
from pathlib import Path

import pytest

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Terminal:
    """One terminal of a given size with a shell in it."""

    def __init__(self, folder: Path, columns: int, rows: int, **environment: str) -> None:
        self._server = f"kto-{uuid.uuid4().hex[:8]}"
        shell = {**os.environ, "PS1": "$ ", "TERM": "xterm-256color", **environment}
        size = ["-x", str(columns), "-y", str(rows)]
        command = [
            "tmux",
            "-L",
            self._server,
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            *size,
            "-c",
            str(folder),
        ]
        subprocess.run([*command, "sh"], check=True, env=shell)

    def tmux(self, *arguments: str) -> str:
        done = subprocess.run(["tmux", "-L", self._server, *arguments], capture_output=True, text=True)
        return done.stdout

    def type(self, text: str) -> None:
        """Type this line and press Enter."""
        self.tmux("send-keys", "-l", text)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def wait_for(self, pattern: str, seconds: float = 60) -> str:
        """The screen once it matches the pattern."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, screen := self.screen()):
            assert time.monotonic() < deadline, f"no {pattern!r} on the screen:\n{screen}"
            time.sleep(0.1)
        return screen

    def close(self) -> None:
        """End the session as a dropped connection would: its programs get SIGHUP."""
        self.tmux("kill-server")
