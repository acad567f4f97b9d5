"""How a checkpoint is refused that is as it was written, and yet not what this program writes."""

import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from kto_tui.core.errors import UserError, printable
from kto_tui.core.setting import shown

T = TypeVar("T")
Whole = Annotated[int, Meta(ge=0, le=2**53)]

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_MESSAGE = re.compile(r"(?P<problem>.*?)(?: - at (?P<key>`key` in )?`\$(?P<place>.*)`)?", re.DOTALL)
_EXPECTED = re.compile(r"Expected (?P<expected>.*?)(?:, got (?P<got>[^,]*))?", re.DOTALL)
_OURS = "what a checkpoint of this program holds"
_PLAIN = (str, int, float, bool, list, tuple, dict, type(None))


def odd(checkpoint: Path, file: str, found: str, expected: str) -> UserError:
    """The refusal of a checkpoint for what was found in one of its files."""
    return UserError(
        f"--resume-from-checkpoint {checkpoint}: {file}: found {printable(found)}; expected {expected}; "
        "resume from another checkpoint"
    )


def typed(checkpoint: Path, file: str, value: Any, kind: type[T]) -> T:
    """`value`, which `file` holds, as a `kind`. Raises UserError that names the place in the file."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise odd(checkpoint, file, *_told(str(error), value)) from None
    except (AttributeError, TypeError, RecursionError):  # msgspec takes some tensors for objects with keys.
        raise odd(checkpoint, file, "values of another kind", _OURS) from None


def _told(message: str, value: Any) -> tuple[str, str]:
    """What was found, and what is expected, from msgspec's words for it."""
    told = _MESSAGE.fullmatch(message)
    assert told is not None
    place = (told["place"] or "").removeprefix(".")
    at = f" at {place}" if place else ""
    problem = told["problem"]
    if (missing := problem.removeprefix("Object missing required field ")) != problem:
        return f"no {_plain(missing)}{at}", _OURS
    parts = _EXPECTED.fullmatch(problem)
    if parts is None:
        return f"{problem[:1].lower()}{problem[1:]}{at}", _OURS
    walked = not told["key"] and _walk(value, told["place"] or "")
    found = shown_value(walked[0]) if walked else _worded(parts["got"] or "another")
    return f"{found}{at}", _worded(parts["expected"])


def shown_value(value: Any) -> str:
    """A value out of a file, on one line; in words where it is no plain one."""
    return shown(value) if isinstance(value, _PLAIN) else f"a {type(value).__name__}"


def _walk(value: Any, place: str) -> tuple[Any] | None:
    """What stands at a place such as `.rewards.labels[3]`; None where msgspec does not name it."""
    for name, number in re.findall(r"\.(\w+)|\[([^]]*)\]", place):
        try:
            value = value[name] if name else value[int(number)]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return (value,)


def _plain(text: str) -> str:
    return text.replace("`", "")


def _worded(text: str) -> str:
    """msgspec's types in words: "`int | null` >= 0" is "a whole number or nothing >= 0"."""
    return re.sub(r"`([^`]*)`", lambda m: _kinds(m[1]), text)


def _kinds(names: str) -> str:
    return " or ".join(_WORDS.get(name, name) for name in names.split(" | "))
