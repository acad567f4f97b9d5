"""What no model can learn from, and no tokenizer takes."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Record
from kto_tui.data.formats.names import MEDIA, SPOKEN, TEMPLATE_OPTIONS
from kto_tui.data.rows import Message, Text
from kto_tui.data.wording import listed, shown

_DEEPEST = 32
_NOTHING = ("", "[]", "{}", "null")  # As tables write out what is empty.
_LOOKED_AT = frozenset((*MEDIA, TEMPLATE_OPTIONS))
_WITH_TEXT = ("content", *SPOKEN)


def require_text(text: Text, part: str, where: str) -> None:
    """Refuse a part that is empty or cannot be encoded."""
    if isinstance(text, str):
        if not text or text.isspace():
            raise UserError(f"{where}: {part} is empty; fill it in or remove the row")
        _require_plain(text, part, where)
        return
    empty = True
    for message in text:
        for key in _WITH_TEXT if len(message) > 2 else ("content",):
            if piece := message.get(key):
                _require_plain(piece, part, where)
                empty = empty and piece.isspace()
        empty = empty and "tool_calls" not in message
    if empty:
        raise UserError(f"{where}: {part} is empty; fill it in or remove the row")


def require_encodable(value: Any, part: str, where: str) -> None:
    """The same for a value of JSON: whatever its depth, its texts end up in the prompt."""
    layer = [value]
    for _ in range(_DEEPEST):
        for text in layer:
            if isinstance(text, str):
                _require_plain(text, part, where)
        layer = [inner for outer in layer for inner in _inside(outer)]
        if not layer:
            return
    raise UserError(f"{where}: {part} is nested too deeply; expected at most {_DEEPEST} levels")


def require_assistant(messages: list[Message], column: str, where: str) -> None:
    """Refuse an answer that is not the model's."""
    role = messages[-1]["role"]
    if role != "assistant":
        raise UserError(
            f'{where}: the last message of "{column}" is of role {shown(role)};'
            " expected the rated answer, of role assistant"
        )


def refuse_beside(record: Record, where: str) -> None:
    """Refuse a conversation that shows the model more than text, or that asks for a template of its own."""
    if _LOOKED_AT.isdisjoint(record):
        return
    for name in MEDIA:
        value = record.get(name)
        if value and not (isinstance(value, str) and value.strip() in _NOTHING):
            raise UserError(
                f'{where}: "{name}" holds more than text, and only text is trained on; remove the row'
            )
    options = record.get(TEMPLATE_OPTIONS)
    if isinstance(options, Mapping):
        options = {name: value for name, value in options.items() if value is not None}
    if options and options not in _NOTHING:
        found = listed(options) if isinstance(options, Mapping) else shown(options)
        raise UserError(
            f'{where}: "{TEMPLATE_OPTIONS}" holds {found}, which no row is trained with; remove the column'
        )


def _require_plain(text: str, part: str, where: str) -> None:
    if "\0" in text:
        raise UserError(f"{where}: {part} holds a NUL character; remove it")
    if not (text.isascii() or _is_encodable(text)):
        raise UserError(f"{where}: {part} holds half of a surrogate pair (\\ud800 to \\udfff); remove it")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return itertools.chain(value, value.values())
    return value if isinstance(value, list) else ()
