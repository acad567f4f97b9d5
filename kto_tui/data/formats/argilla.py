"""Records out of Argilla: nested (to_list, to_json), flattened (to_datasets), and those of Argilla 1.

Only responses that were submitted count. Of several the majority is taken. Suggestions come from models,
and are taken only where the user names one: --label-column QUESTION.suggestion.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from kto_tui.core.errors import UserError, printable
from kto_tui.data.formats.base import Format, Record, parsed
from kto_tui.data.formats.checks import refuse_beside
from kto_tui.data.formats.exports import Exchange, chosen_rating
from kto_tui.data.formats.ratings import Judge, Judged, distinct
from kto_tui.data.formats.tools import read_tools
from kto_tui.data.rows import Columns, Row
from kto_tui.data.wording import shown

_FLAT, _SUGGESTED = ".responses", ".suggestion"
_COUNTED = (None, "submitted")


class Argilla(Judged):
    """One record, rated by one or several people."""

    expects = "a record with fields and responses"

    def __init__(self, judge: Judge, exchange: Exchange) -> None:
        super().__init__("Argilla export", judge, uses=exchange.uses)
        self._exchange = exchange

    def _rows(self, record: Record, where: str) -> list[Row]:
        record = _opened(record)
        label = self._judge.majority(responses(record, self._judge.column, where), where)
        nested = record.get("fields")
        fields = nested if isinstance(nested, dict) else record
        prompt, answer = self._exchange.read(fields, where)
        refuse_beside(fields, where)
        return [Row(prompt, answer, label, where, read_tools(fields, where) if "tools" in fields else None)]


def recognize_argilla(records: Sequence[Record], columns: Columns, source: str) -> Format | None:
    """The format, if these are Argilla's records."""
    records = [_opened(record) for record in records]
    if not any(_is_argilla(record) for record in records):
        return None
    names = [name for record in records for name in _questions(record)]
    if columns.label.endswith(_SUGGESTED) and any(_suggestion(r, columns.label) is not None for r in records):
        names.append(columns.label)
    question = chosen_rating(names, columns, source)
    values = distinct(
        value for record in records for value in responses(record, question or columns.label, source)
    )
    nested = [record["fields"] for record in records if isinstance(record.get("fields"), dict)]
    fields = [name for record in (nested or records) for name in record]
    exchange = Exchange.among(fields, columns, source).settled(nested or records, source)
    known = Argilla(Judge.of(columns, question or columns.label, values, source, names), exchange)
    known.settled = question is not None
    about = () if nested else (name for name in fields if _is_about(name) or name in names)
    known.unread = exchange.unread(nested or records, about)
    return known


def responses(record: Record, question: str, where: str) -> list[Any]:
    """The submitted answers to a question; [None] for one that was passed over. Raises UserError."""
    if question.endswith(_SUGGESTED):
        return [_suggestion(record, question)]
    return list(_flat(record, question, where)) or list(_nested(record, question))


def _opened(record: Record) -> Record:
    """The record with what a table holds as JSON text."""
    if not any(isinstance(value, str) and _is_table_of(name, value) for name, value in record.items()):
        return record
    return {name: parsed(value) if _is_table_of(name, value) else value for name, value in record.items()}


def _is_table_of(name: str, value: Any) -> bool:
    """Whether a column may hold responses, or fields, as JSON text."""
    return (
        name in ("fields", "responses", "suggestions")
        or _FLAT in name
        or (isinstance(value, str) and value.startswith('[{"user_id"'))
    )


def _is_about(name: str) -> bool:
    """Whether a column of a flat record is Argilla's own."""
    added = (_FLAT, _SUGGESTED, "-suggestion")
    return name in ("id", "status", "_server_id", "external_id") or any(part in name for part in added)


def _is_argilla(record: Record) -> bool:
    if isinstance(record.get("fields"), dict) and ("responses" in record or "suggestions" in record):
        return True
    return any(name.endswith(_FLAT) for name in record) or any(_is_old(value) for value in record.values())


def _is_old(value: Any) -> bool:
    """A column of Argilla 1: one object a person. As `datasets` has it, also an object of lists."""
    first = value[0] if isinstance(value, list) and value else value
    # Columnar files leave the value out of a response that was discarded.
    return isinstance(first, dict) and {"user_id", "status"} <= first.keys() and "values" not in first


def _questions(record: Record) -> Iterator[str]:
    yield from (name.removesuffix(_FLAT) for name in record if name.endswith(_FLAT))
    yield from (name for name, value in record.items() if _is_old(value))
    nested = record.get("responses")
    if isinstance(nested, dict):
        yield from nested
    for answer in nested if isinstance(nested, list) else []:
        if isinstance(answer, dict) and isinstance(answer.get("values"), dict):
            yield from answer["values"]


def _flat(record: Record, question: str, where: str) -> Iterator[Any]:
    values = record.get(question + _FLAT)
    if isinstance(values, str) and values.strip():
        raise UserError(
            f'{where}: "{printable(question + _FLAT)}" is {shown(values)}; expected a list'
            " (save the data set as .jsonl or .parquet)"
        )
    states = record.get(f"{question}{_FLAT}.status")
    for place, value in enumerate(values if isinstance(values, list) else []):
        state = states[place] if isinstance(states, list) and place < len(states) else None
        if state in _COUNTED:
            yield value


def _nested(record: Record, question: str) -> Iterator[Any]:
    nested = record.get("responses")
    answers = nested.get(question) if isinstance(nested, dict) else record.get(question)
    if isinstance(answers, dict) and isinstance(answers.get("value"), list):
        states = answers.get("status")
        states = states if isinstance(states, list) else [None] * len(answers["value"])
        answers = [{"value": v, "status": s} for v, s in zip(answers["value"], states, strict=False)]
    for answer in answers if isinstance(answers, list) else []:
        if isinstance(answer, dict) and answer.get("status") in _COUNTED:
            yield answer.get("value")
    for answer in nested if isinstance(nested, list) else []:
        values = answer.get("values") if isinstance(answer, dict) else None
        if isinstance(values, dict) and answer.get("status") in _COUNTED:
            given = values.get(question)
            yield given.get("value") if isinstance(given, dict) else given


def _suggestion(record: Record, name: str) -> Any:
    if name in record:
        return record[name]
    nested = record.get("suggestions")
    found = nested.get(name.removesuffix(_SUGGESTED)) if isinstance(nested, dict) else None
    return found.get("value") if isinstance(found, dict) else found
