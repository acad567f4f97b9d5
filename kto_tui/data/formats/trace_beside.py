"""What stands around a prompt and belongs to it: a system prompt, earlier turns, and tools."""

from collections.abc import Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import MISSING, Record, parsed
from kto_tui.data.formats.messages import is_filled
from kto_tui.data.formats.names import HISTORIES, SYSTEMS

BESIDE = (*SYSTEMS, *HISTORIES, "tools", "functions")
INSTRUCTIONS = "instructions"  # The system prompt in a request to OpenAI's Responses.
_REQUEST = (INSTRUCTIONS, "input", "model")
_NAMES = frozenset((*BESIDE, INSTRUCTIONS))


def within(outer: Record, inner: Record, where: str) -> Record:
    """What belongs to a prompt, of the objects around it: one further out, and one in it.

    Raises UserError if both say something under one name, and not the same.
    """
    if _NAMES.isdisjoint(inner):
        return outer
    whole = dict(outer)
    for name in BESIDE:
        value = inner.get(name)
        if not _is_filled(value):
            continue
        if name in whole and parsed(whole[name]) != parsed(value):
            raise UserError(
                f'{where}: "{name}" stands twice around the prompt, and not with the same; leave one out'
            )
        whole[name] = value
    if is_request(inner) and "system" not in whole and _is_filled(inner[INSTRUCTIONS]):
        whole["system"] = inner[INSTRUCTIONS]
    return whole


def of_record(record: Record, where: str) -> Record:
    """The same of a record alone, where instructions may be for anybody."""
    if _NAMES.isdisjoint(record):
        return {}
    found = {name: record[name] for name in BESIDE if name in record}
    if is_request(record):  # As OpenAI's Responses are saved: with what was asked for.
        found |= {name: record[name] for name in _REQUEST}
    return within({}, found, where)


def is_request(value: Mapping[str, Any]) -> bool:
    """Whether it is a request to OpenAI's Responses with instructions."""
    return all(name in value for name in _REQUEST)


def find(record: Record, name: str, where: str, *, around: bool = True) -> tuple[Any, Record] | None:
    """The value that "inputs.question" or "args.0" leads to, and what stands around it; None if nothing.

    Columns may have dots in their names, and objects may be JSON text. Without `around` nobody looks at what
    stands there, which may be of an answer.
    """
    beside = of_record(record, where) if around else {}
    if name in record:
        return record[name], beside
    column = column_of(record, name)
    rest, holder = name[len(column) + 1 :], parsed(record.get(column))
    while rest:
        part, _, further = rest.partition(".")
        if isinstance(holder, list) and part.isdecimal() and int(part) < len(holder):
            value = holder[int(part)]
        elif isinstance(holder, dict):
            beside = within(beside, holder, where) if around else beside
            if rest in holder:
                return holder[rest], beside
            value = holder.get(part, MISSING)
        else:
            return None
        if not further:
            return None if value is MISSING else (value, beside)
        holder, rest = parsed(value), further
    return None


def column_of(record: Record, name: str) -> str:
    """The column of a record that a name with dots leads into: itself, or the longest part that is one."""
    column = name
    while column not in record and "." in column:
        column = column.rpartition(".")[0]
    return column


def _is_filled(value: Any) -> bool:
    return is_filled(value) and value != {}
