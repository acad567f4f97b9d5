"""What a setting is to the command line, settings files and messages, and how its values are read."""

import math
import os
import re
from dataclasses import dataclass
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from kto_tui.core.errors import UserError

AUTO = "auto"
AUTO_BATCH = 0  # --batch-size auto, until the memory plan has put a number in its place.
NO_CACHE = "off"
LISTS = frozenset({"dataset", "lora_target_modules", "report_to"})  # Text with commas; lists in YAML, too.

_LARGEST = 2**53  # Whole numbers up to here are exact in JSON and in every float64.
_LONGEST = 4096
_SHOWN = 60
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Doc:
    """What help says about a setting, and under which heading."""

    group: str
    text: str
    metavar: str | None = None


@dataclass(frozen=True)
class Setting:
    """One setting as the command line and the messages see it."""

    name: str
    flag: str
    type: Any
    default: Any
    doc: Doc
    choices: tuple[str, ...] | None

    @property
    def is_switch(self) -> bool:
        return self.type is bool


def unwrap(hint: Any) -> tuple[Any, Doc]:
    """A field's type without its Doc, and that Doc."""
    doc = next(part for part in hint.__metadata__ if isinstance(part, Doc))
    bounds = tuple(part for part in hint.__metadata__ if not isinstance(part, Doc))
    base = hint.__origin__
    return (Annotated[(base, *bounds)] if bounds else base), doc


# YAML 1.1 reads these words as true and false wherever they stand without quotes.
_SWITCH_WORDS = {True: ("on", "yes"), False: ("off", "no")}


def _words_of(setting: Setting) -> tuple[str, ...]:
    """The words that a text setting gives a meaning of its own."""
    return setting.choices or ((NO_CACHE,) if setting.name == "reference_cache" else ())


def convert(setting: Setting, value: Any, where: str) -> Any:
    """`value` as the setting's type. `where` names its origin in the error.

    Raises UserError, which says what was found and what is wanted.
    """
    if setting.name == "class_weights" and not isinstance(value, str):
        # YAML 1.1 reads 1:1.5 as a number to the base of 60.
        raise UserError(f'{where}: found a number; write the weights in quotes: "1:1.5"')
    if setting.name == "batch_size" and value == AUTO:
        return AUTO_BATCH
    if setting.name == "dataset":
        _check_commas(value, where)
    if setting.name in LISTS and isinstance(value, (list, tuple)) and value:
        value = ",".join(_part(part, setting, where) for part in value)
    if isinstance(value, bool):
        value = next((word for word in _SWITCH_WORDS[value] if word in _words_of(setting)), value)
    if value == "":
        raise UserError(f"{where}: found nothing; expected {expected(setting)}")
    wants_text = setting.type is str or (not isinstance(value, str) and str in get_args(setting.type))
    try:
        if wants_text and isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        converted = msgspec.convert(value, setting.type, strict=False)
    except (msgspec.ValidationError, ValueError):
        converted = math.nan
    if isinstance(converted, float) and not math.isfinite(converted):
        raise UserError(f"{where}: found {shown(value)}; expected {expected(setting)}")
    if isinstance(converted, int) and converted > _LARGEST:
        raise UserError(f"{where}: found {shown(value)}; expected at most {_LARGEST}")
    if isinstance(converted, str):
        _check_text(converted, where)
    return converted


def _part(value: Any, setting: Setting, where: str) -> str:
    """One of several texts, which commas will part. Raises UserError."""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: found {shown(value)} in a list; expected {expected(setting)}")
    return value


def _check_commas(value: Any, where: str) -> None:
    """Refuse a file with a comma in its name but where it stands alone: commas part one from the next."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    for part in parts:
        if not isinstance(part, str) or "," not in part or "\0" in part:
            continue
        names = (part.rpartition("=")[0], part if len(parts) > 1 else "")
        if any("," in name and os.path.exists(os.path.expanduser(name)) for name in names):
            raise UserError(
                f"{where}: found {shown(part)}, a file with a comma in its name beside others or a weight; "
                "rename it, since commas part data sets"
            )


def _check_text(text: str, where: str) -> None:
    """Refuse what no file system, tracker or file of ours takes. Raises UserError."""
    if len(text) > _LONGEST:
        raise UserError(f"{where}: found {len(text)} characters; expected at most {_LONGEST}")
    if "\0" in text or _SURROGATES.search(text):
        raise UserError(f"{where}: found {shown(text)}; expected text without NUL, in UTF-8")


def shown(value: Any) -> str:
    """A value in an error: on one line, cut at 60 characters, harmless to a terminal."""
    if isinstance(value, (list, tuple, dict)):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of more than 38 digits"
    long = isinstance(value, (str, bytes)) and len(value) > _SHOWN
    text = repr(value[:_SHOWN] if long else value)
    return f"{text[:_SHOWN]}…" if long or len(text) > _SHOWN else text


def expected(setting: Setting) -> str:
    """What the setting takes, in words."""
    if setting.choices:
        return "one of " + ", ".join(setting.choices)
    if setting.name == "reference_cache":
        return "a folder, or off"
    if setting.name == "batch_size":
        return "a whole number of at least 2, or auto"
    kind = next(kind for kind in _members(setting.type) if kind is not type(None))
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    bounds = [part for part in getattr(kind, "__metadata__", ()) if isinstance(part, Meta)]
    return words[getattr(kind, "__origin__", kind)] + "".join(map(_bounds, bounds))


def _members(kind: Any) -> tuple[Any, ...]:
    if hasattr(kind, "__metadata__"):
        return (kind,)
    return get_args(kind) or (kind,)


def _bounds(meta: Meta) -> str:
    if meta.ge is not None and meta.le is not None:
        return f" from {meta.ge} to {meta.le}"
    if meta.gt is not None and meta.lt is not None:
        return f" above {meta.gt} and below {meta.lt}"
    if meta.gt is not None:
        return f" above {meta.gt}"
    return f" of at least {meta.ge}" if meta.ge is not None else ""
