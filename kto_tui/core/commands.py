"""Requests to a running worker: one JSON object a line in commands.jsonl.

Whoever can write that file can steer the run: it is its owner's alone.
"""

import errno
import os
import stat
import time
import uuid
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from kto_tui.core.events import Moment

CommandName = Literal["checkpoint", "pause", "resume", "park", "stop"]

LONGEST_LINE = 1024
_PRIVATE = 0o600
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Command(msgspec.Struct, frozen=True):
    """One request. `time` is seconds since the epoch; `id` returns in the `command_done` event.

    `keeps`: a checkpoint that is asked for outlives the rotation. `urgent`: a stop does not wait for the
    end of the step under way. `insists`: a stop ends the run also where the last step cannot be saved.
    """

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    command: CommandName
    time: Moment
    keeps: bool = True
    urgent: bool = False
    insists: bool = False


def new_command(
    name: CommandName, *, keeps: bool = True, urgent: bool = False, insists: bool = False
) -> Command:
    """A request made now, with an id of its own."""
    identity = uuid.uuid4().hex[:12]
    return Command(id=identity, command=name, time=time.time(), keeps=keeps, urgent=urgent, insists=insists)


def make_private(path: Path) -> None:
    """Have the file there, for its owner alone. To be called by the supervisor, before it reads.

    An older one that is ours is made so. Raises OSError; what stays in the way is told by `refusal`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _SAFELY, _PRIVATE)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, _PRIVATE)
    finally:
        os.close(descriptor)


def refusal(descriptor: int) -> str | None:
    """Why requests in this open file are not to be trusted, or None if they are.

    Nobody but the user who runs this process may be able to write it. (root always is.)
    """
    file = os.fstat(descriptor)
    if not stat.S_ISREG(file.st_mode):
        return "it is no plain file"
    if file.st_uid != os.geteuid():
        return f"it belongs to user {file.st_uid}, and the run to user {os.geteuid()}"
    if file.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write it (mode {stat.S_IMODE(file.st_mode):o}); mend it with chmod 600"
    return None


def append_command(path: Path, command: Command) -> None:
    """Append one request. A single write of a whole line, so several writers never mix.

    Raises OSError if it cannot be written whole, ValueError if it is too long to be read.
    """
    line = msgspec.json.encode(command) + b"\n"
    if len(line) > LONGEST_LINE:
        raise ValueError(f"a request of {len(line)} bytes; at most {LONGEST_LINE} are read")
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _SAFELY, _PRIVATE)
    try:
        file = os.fstat(descriptor)
        if not stat.S_ISREG(file.st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        if file.st_size and os.pread(descriptor, 1, file.st_size - 1) != b"\n":
            line = b"\n" + line  # Behind what a full disk has left of another request.
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def decode_command(line: bytes) -> Command | None:
    """The request on this line, or None for what is torn, unknown, too long or not a request."""
    if len(line) > LONGEST_LINE:
        return None
    try:
        return msgspec.json.decode(line, type=Command)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
