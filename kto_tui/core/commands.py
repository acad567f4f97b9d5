"""Requests to a running worker: one JSON object a line in commands.jsonl."""

import os
import time
import uuid
from pathlib import Path
from typing import Literal

import msgspec

CommandName = Literal["checkpoint", "pause", "resume", "park", "stop"]


class Command(msgspec.Struct, frozen=True):
    """One request. `time` is seconds since the epoch; `id` returns in the `command_done` event."""

    id: str
    command: CommandName
    time: float


def new_command(name: CommandName) -> Command:
    """A request made now, with an id of its own."""
    return Command(id=uuid.uuid4().hex[:12], command=name, time=time.time())


def append_command(path: Path, command: Command) -> None:
    """Append one request. A single write of a whole line, so several writers never mix."""
    line = msgspec.json.encode(command) + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def decode_command(line: bytes) -> Command | None:
    """The request on this line, or None for what is torn, unknown or not a request."""
    try:
        return msgspec.json.decode(line, type=Command)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
