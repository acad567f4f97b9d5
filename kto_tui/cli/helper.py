"""A process that does the heavy half of a command: torch never gets into the command's own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Self

from kto_tui.core.errors import UserError, printable
from kto_tui.insight.text import clean_text

Told = dict[str, Any]
_LAST_BYTES = 4096


class HelperDied(Exception):
    """The process ended without a word of its own; the message is what it printed last."""


def show_waiting(told: Told | None) -> None:
    """What is waited for, on a line of the terminal that goes again; None: nothing any more."""
    if not sys.stderr.isatty():
        return
    done = f" {100 * told['done'] // told['total']}%" if told and told["total"] else ""
    sys.stderr.write(f"\r\x1b[K{clean_text(told['detail'])}{done} …" if told else "\r\x1b[K")
    sys.stderr.flush()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is done in the way that an exit does: what it has put aside is removed."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    heeded = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, end) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Helper:
    """`python -m module`, asked and heard in JSON lines. It ends when this process does, or its terminal.

    It is in a session of its own, so that Ctrl+C reaches this process alone. What else it prints is kept
    aside.
    """

    def __init__(self, module: str, request: Mapping[str, Any]) -> None:
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115  Closed with the helper.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            start_new_session=True,
            bufsize=-1,
        )
        self.ask(request)

    def ask(self, what: Mapping[str, Any]) -> None:
        """Send it a line."""
        assert self._process.stdin is not None
        # At once: a handler of a signal may ask while another line waits in a buffer.
        with suppress(BrokenPipeError):  # Reading tells why it is gone.
            os.write(self._process.stdin.fileno(), json.dumps(what).encode() + b"\n")

    def told(self) -> Iterator[Told]:
        """What it says, until it ends. Raises UserError where it refuses, HelperDied where it breaks."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            what = json.loads(line)
            if what["kind"] == "refused":
                raise UserError(what["message"])
            if what["kind"] == "failed":
                raise HelperDied(what["message"])
            yield what
        if code := self._process.wait():
            raise HelperDied(self._last_words(code))

    def _last_words(self, code: int) -> str:
        if code == -9:
            return "it was killed; is the memory short?"
        size = self._printed.seek(0, os.SEEK_END)
        self._printed.seek(max(0, size - _LAST_BYTES))
        lines = self._printed.read().decode(errors="replace").split("\n")
        words = next((line for line in reversed(lines) if line.strip()), "none")
        return f"it ended with code {code}; its last words: {printable(words.strip()[:300])}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it: it goes once nobody is at the other end, and tidies up."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._printed.close()
