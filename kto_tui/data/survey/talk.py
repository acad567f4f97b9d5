"""What `kto-tui check-data` and the process that counts its tokens say to each other: a line of JSON each."""

from typing import Any

import msgspec

from kto_tui.core.config import RunConfig
from kto_tui.data.survey.checking import Checked


class Request(msgspec.Struct, kw_only=True):
    """What to check. `fix`: the file to write, or None."""

    config: RunConfig
    fix: str | None = None


class Doing(msgspec.Struct, tag="doing", kw_only=True):
    """How far it is: what it does, and how many rows were read."""

    what: str
    rows: int = 0


class Refused(msgspec.Struct, tag="refused", kw_only=True):
    """The request was wrong: the message of a UserError."""

    message: str


class Done(msgspec.Struct, tag="done", kw_only=True):
    """What came of it. Nothing follows."""

    checked: Checked


_decoder: msgspec.json.Decoder[Doing | Refused | Done] = msgspec.json.Decoder(Doing | Refused | Done)


def encode(message: Any) -> bytes:
    """A message as its line."""
    return msgspec.json.encode(message) + b"\n"


def decode(line: bytes) -> Doing | Refused | Done:
    """The message in a line. Raises msgspec.DecodeError for any other line."""
    return _decoder.decode(line)


def decode_request(line: bytes) -> Request:
    """The request in a line."""
    return msgspec.json.decode(line, type=Request)
