"""What a run remembers of its trackers, in trackers.json of its folder: names and counts, no address."""

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import msgspec

from kto_tui.core.directory import RunDirectory

_MOST_BYTES = 64 << 10


class Remembered(msgspec.Struct):
    """One tracker's run. `id` is the tracker's own name of it, `project` where it lies.

    `steps` is the last step sent, by kind ("train", "eval"); `rows` how many were sent in all. `closed`: it
    was told of its end, so that all of them have reached it.
    """

    project: str
    id: str
    steps: dict[str, int] = msgspec.field(default_factory=dict)
    rows: int = 0
    closed: bool = False


class Memory:
    """The file, shared by the threads of all trackers.

    `goes_on`: the run is resumed in its own folder; of one that begins, nothing before counts.
    """

    def __init__(self, folder: Path, *, goes_on: bool) -> None:
        self._path = RunDirectory.at(folder).trackers
        self._lock = threading.Lock()
        self._all = _read(self._path) if goes_on else {}

    def of(self, tracker: str, project: str) -> Remembered | None:
        """The tracker's run so far; None where there is none, or where it lies in another project."""
        with self._lock:
            found = self._all.get(tracker)
        return found if found is not None and found.project == project else None

    def keep(self, tracker: str, remembered: Remembered) -> None:
        """Write it down. Raises OSError."""
        with self._lock:
            self._all[tracker] = remembered
            text = json.dumps(msgspec.to_builtins(self._all), indent=1, sort_keys=True)
            beside = self._path.with_suffix(".new")
            beside.unlink(missing_ok=True)
            # Never through a link: the folder may be one that others write in, too.
            with beside.open("x", encoding="utf-8") as file:
                file.write(text)
            beside.replace(self._path)

    def forget(self) -> None:
        """A run begins without trackers: what one before it left here is not its own."""
        with contextlib.suppress(OSError):  # A folder that cannot be written ends the run by itself.
            self._path.unlink()


def _read(path: Path) -> dict[str, Remembered]:
    """Nothing for no file, and for one that is not ours: the trackers then begin anew."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            found: Any = json.loads(file.read(_MOST_BYTES))
        return msgspec.convert(found, dict[str, Remembered])
    except (OSError, ValueError, RecursionError, msgspec.ValidationError):
        return {}
