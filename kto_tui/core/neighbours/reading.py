"""A neighbour's settings file while it is read: each key is taken once, and what becomes of it is kept."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.core.setting import shown

_OFF = (False, 0, "", "no", "none", "false")


@dataclass(frozen=True)
class Understood:
    """A neighbour's file in our words.

    `settings` are values by our names, not yet converted; `keys` the neighbour's key of each, for messages.
    `ignored` keys change nothing here; `unsupported` would change the training, and say why they do not.
    `assumed` settings are what the program has where its file says nothing.
    """

    program: str
    settings: Mapping[str, Any]
    keys: Mapping[str, str]
    ignored: tuple[str, ...]
    unsupported: tuple[str, ...]
    assumed: frozenset[str] = frozenset()

    def notes(self, where: str) -> tuple[str, ...]:
        """What the user is to know, one line each."""
        notes = [f"{where}: read as {self.program}'s; what it leaves out is as {self.program} has it"]
        if self.unsupported:
            notes.append(f"{where}: not followed here: {'; '.join(self.unsupported)}")
        if self.ignored:
            notes.append(f"{where}: without effect here: {', '.join(self.ignored)}")
        return tuple(notes)


@dataclass
class Keys:
    """The keys of a file, and the settings that they come to."""

    where: str
    values: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    given: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.given = frozenset(self.values)

    def is_assumed(self, setting: str) -> bool:
        """Whether the setting's value is only what the program has where its file says nothing."""
        return self.given.isdisjoint(self.sources.get(setting, "").split(", "))

    def take(self, *names: str, default: Any = None) -> Any:
        """The value of the first of these keys that is there and not null; all of them are done with."""
        found = [value for name in names if (value := self.values.pop(name, None)) is not None]
        return found[0] if found else default

    def put(self, setting: str, value: Any, key: str) -> None:
        """`key` came to this setting."""
        self.settings[setting] = value
        self.sources[setting] = key

    def move(self, key: str, setting: str, default: Any = None) -> None:
        """The value of `key` is that of the setting, as is. None: ours holds."""
        if (value := self.take(key, default=default)) is not None:
            self.put(setting, value, key)

    def leave(self, key: str, value: Any, why: str) -> None:
        """`key` would change the training, and does not."""
        self.unsupported.append(f"{shown(key)[1:-1]}: {shown(value)} ({why})")

    def refuse(self, key: str, found: str, instead: str) -> UserError:
        return UserError(f"{self.where}, key '{key}': found {found}; {instead}")


def listed(value: Any) -> list[Any]:
    """The parts of a text with commas, or of a list; none for null, one for any other value."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, (list, tuple)):
        return list(value)
    return [] if value is None else [value]


def number(value: Any) -> float | None:
    """The value as a number, also where YAML 1.1 takes it for text, as 5e-7; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def is_off(value: Any) -> bool:
    """Whether a value says that something is not done."""
    return value is None or (isinstance(value, (bool, int, float, str)) and value in _OFF)
