"""Both ends of the pipe of a process that does the heavy half of a terminal's command: JSON lines."""

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kto_tui.core.errors import WRONG_REQUEST, UserError, one_line

_FAILED = 1


class Pipe:
    """What the command asks arrives on stdin; what it is told leaves by what was stdout.

    Whatever else is printed goes to stderr. Once stdin ends, the command is gone, and so is this process; the
    files and folders in `leftovers` and the programs that it has begun go with it. `stopped` is set while a
    stop was asked for.
    """

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()
        self._asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.stopped = threading.Event()
        self.leftovers: list[Path] = []
        self._begun: list[subprocess.Popen[str]] = []
        self._beginning = threading.Lock()
        threading.Thread(target=self._listen, name="pipe", daemon=True).start()

    def next(self) -> dict[str, Any]:
        """Wait for what is asked next; a stop that came before does not hold for it."""
        asked = self._asked.get()
        self.stopped.clear()
        return asked

    def say(self, kind: str, **what: Any) -> None:
        """Tell the command. Raises OSError where it does not listen any more."""
        with self._lock:
            print(json.dumps({"kind": kind, **what}), file=self._out, flush=True)

    def begin(self, command: list[str]) -> subprocess.Popen[str]:
        """A program that ends when this process does; all that it prints can be read. Raises OSError."""
        with self._beginning:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            self._begun.append(process)
        return process

    def progress(self, done: int, total: int, detail: str) -> None:
        """As training's sources report what they are at; counts in bytes, 0 where there is none."""
        self.say("progress", done=done, total=total, detail=detail)

    def _listen(self) -> None:
        for line in sys.stdin:
            asked = json.loads(line)
            if asked.get("stop"):
                self.stopped.set()
            else:
                self._asked.put(asked)
        with self._beginning:  # For good: nothing is begun any more.
            for process in self._begun:
                process.kill()
                process.wait()
            for left in self.leftovers:
                shutil.rmtree(left, ignore_errors=True)
                with suppress(OSError):
                    left.unlink()
            os._exit(_FAILED)


def serve(work: Callable[[Pipe, dict[str, Any]], None]) -> int:
    """Do the work for the first thing that is asked. Returns the exit code, once the command knows why."""
    pipe = Pipe()
    try:
        work(pipe, pipe.next())
    except UserError as error:
        pipe.say("refused", message=str(error))
        return WRONG_REQUEST
    except Exception as error:  # noqa: BLE001  The command tells its user.
        traceback.print_exc()
        pipe.say("failed", message=one_line(error)[:1000])
        return _FAILED
    return 0
