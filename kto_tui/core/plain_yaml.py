"""YAML as settings need it: one flat mapping of plain values, or of lists of them.

Whoever wrote it, reading it is quick and safe.

PyYAML's own loaders crash the process on deep nesting, grow without bound on aliases and merge keys, and let
the errors of int() and date() through. Here its parser alone is used, event by event, and given up early.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

_DEEPEST = 8
_MOST_PARTS = 4000
_LONGEST_NUMBER = 64
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_WORD_TAGS = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:null")
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotPlain(Exception):
    """The text is no flat mapping of plain values; the message says in which way, on one line."""


def read_pairs(text: str) -> list[tuple[str, Any]]:
    """Keys and values in their order, a key that stands twice included; none for an empty document.

    Values are None, bool, int, float or str, or lists of these. Of a nested mapping, or of a list that holds
    more than plain values, only its kind is kept, as {} or [].
    Raises NotPlain.
    """
    try:
        events = list(_content(yaml.parse(text, Loader=_Parser)))
    except yaml.YAMLError as error:
        raise NotPlain(f"not YAML: {_problem(error)}") from None
    if not events or (isinstance(events[0], yaml.ScalarEvent) and _scalar(events[0]) is None):
        return []
    if not isinstance(events[0], yaml.MappingStartEvent):
        raise NotPlain("expected settings as key: value")
    return list(_pairs(iter(events[1:-1])))


def _problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return place + " ".join(str(getattr(error, "problem", None) or error).split())


def _content(events: Iterable[yaml.Event]) -> Iterator[yaml.Event]:
    """The events of the one document. Raises NotPlain for what could cost time, memory or more."""
    depth = documents = 0
    for count, event in enumerate(events):
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if documents > 1:
            raise NotPlain(f"{_line(event)}: found a second document; expected one")
        if depth > _DEEPEST:
            raise NotPlain(f"{_line(event)}: nested too deeply; expected settings as key: value")
        if count > _MOST_PARTS:
            raise NotPlain(f"{_line(event)}: too many values; expected settings as key: value")
        if isinstance(event, yaml.AliasEvent):
            raise NotPlain(
                f"{_line(event)}: found an alias (*{str(event.anchor)[:40]}); write the value itself"
            )
        if (tag := getattr(event, "tag", None)) and tag not in _TEXT_TAGS:
            raise NotPlain(f"{_line(event)}: found the tag {tag[:60]}; expected a value without one")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent, yaml.CollectionEndEvent)):
            yield event


def _line(event: yaml.Event) -> str:
    mark: Any = event.start_mark
    return f"line {mark.line + 1}"


def _pairs(events: Iterator[yaml.Event]) -> Iterator[tuple[str, Any]]:
    for key in events:
        if not isinstance(key, yaml.ScalarEvent):
            raise NotPlain(f"{_line(key)}: expected settings as key: value")
        yield key.value, _value(next(events), events)


def _value(event: yaml.Event, events: Iterator[yaml.Event]) -> Any:
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    depth, parts, flat = 1, [], True
    while depth:
        inner = next(events)
        depth += isinstance(inner, yaml.CollectionStartEvent) - isinstance(inner, yaml.CollectionEndEvent)
        flat = flat and not isinstance(inner, yaml.CollectionStartEvent)
        if flat and isinstance(inner, yaml.ScalarEvent):
            parts.append(_scalar(inner))
    if isinstance(event, yaml.MappingStartEvent):
        return {}
    return parts if flat else []


def _scalar(event: yaml.ScalarEvent) -> Any:
    """The value as YAML 1.1 has it. Dates stay text, and so do numbers that nobody would write."""
    rules: Any = yaml.SafeLoader("")
    tag = event.tag or rules.resolve(yaml.ScalarNode, event.value, event.implicit)
    numeric = tag in _NUMBER_TAGS and len(event.value) <= _LONGEST_NUMBER
    if not numeric and tag not in _WORD_TAGS:
        return event.value
    try:
        return rules.construct_object(yaml.ScalarNode(tag, event.value))
    except ValueError:  # The rule for numbers also lets 0x_ pass.
        return event.value
