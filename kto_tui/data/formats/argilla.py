"""Records out of Argilla: nested (to_list, to_json), flattened (to_datasets), and those of Argilla 1.

Only responses that were submitted count. Of several the majority is taken. Suggestions come from models,
and are taken only where the user names one: --label-column QUESTION.suggestion.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kto_tui.data.formats.base import Format, Record
from kto_tui.data.formats.exports import Exchange, chosen_rating
from kto_tui.data.formats.ratings import Judge, Judged, distinct
from kto_tui.data.rows import Columns, Row

_FLAT, _SUGGESTED = ".responses", ".suggestion"
_COUNTED = (None, "submitted")


class Argilla(Judged):
    """One record, rated by one or several people."""

    expects = "a record with fields and responses"

    def __init__(self, judge: Judge, exchange: Exchange) -> None:
        super().__init__("Argilla export", judge, uses=exchange.uses)
        self._exchange = exchange

    def _rows(self, record: Record, where: str) -> list[Row]:
        label = self._judge.majority(responses(record, self._judge.column), where)
        fields = record.get("fields")
        prompt, answer = self._exchange.read(fields if isinstance(fields, Mapping) else record, where)
        return [Row(prompt, answer, label, where)]


def recognize_argilla(records: Sequence[Record], columns: Columns, source: str) -> Format | None:
    """The format, if these are Argilla's records."""
    if not any(_is_argilla(record) for record in records):
        return None
    names = [name for record in records for name in _questions(record)]
    question = chosen_rating(names, columns, source)
    rated = question is not None
    question = question or columns.label
    nested = [record["fields"] for record in records if isinstance(record.get("fields"), Mapping)]
    values = distinct(value for record in records for value in responses(record, question))
    fields = [name for record in (nested or records) for name in record]
    judge = Judge.of(columns, question, values, source)
    exchange = Exchange.among(fields, columns, source).settled(nested or records, source)
    known = Argilla(judge, exchange)
    known.settled = rated
    known.unread = exchange.unread(nested)
    return known


def responses(record: Record, question: str) -> list[Any]:
    """The submitted answers to a question; [None] for one that was passed over."""
    if question.endswith(_SUGGESTED):
        return [_suggestion(record, question)]
    return list(_flat(record, question)) or list(_nested(record, question))


def _is_argilla(record: Record) -> bool:
    if isinstance(record.get("fields"), Mapping) and ("responses" in record or "suggestions" in record):
        return True
    return any(name.endswith(_FLAT) for name in record) or any(_is_old(value) for value in record.values())


def _is_old(value: Any) -> bool:
    """A column of Argilla 1: one object a person. As `datasets` has it, also an object of lists."""
    first = value[0] if isinstance(value, list) and value else value
    # Columnar files leave the value out of a response that was discarded.
    return isinstance(first, Mapping) and {"user_id", "status"} <= first.keys() and "values" not in first


def _questions(record: Record) -> Iterator[str]:
    yield from (name.removesuffix(_FLAT) for name in record if name.endswith(_FLAT))
    yield from (name for name, value in record.items() if _is_old(value))
    nested = record.get("responses")
    if isinstance(nested, Mapping):
        yield from nested
    for answer in nested if isinstance(nested, list) else []:
        if isinstance(answer, Mapping) and isinstance(answer.get("values"), Mapping):
            yield from answer["values"]


def _flat(record: Record, question: str) -> Iterator[Any]:
    values = record.get(question + _FLAT)
    states = record.get(f"{question}{_FLAT}.status")
    for place, value in enumerate(values if isinstance(values, list) else []):
        state = states[place] if isinstance(states, list) and place < len(states) else None
        if state in _COUNTED:
            yield value


def _nested(record: Record, question: str) -> Iterator[Any]:
    nested = record.get("responses")
    answers = nested.get(question) if isinstance(nested, Mapping) else record.get(question)
    if isinstance(answers, Mapping) and isinstance(answers.get("value"), list):
        states = answers.get("status")
        states = states if isinstance(states, list) else [None] * len(answers["value"])
        answers = [{"value": v, "status": s} for v, s in zip(answers["value"], states, strict=False)]
    for answer in answers if isinstance(answers, list) else []:
        if isinstance(answer, Mapping) and answer.get("status") in _COUNTED:
            yield answer.get("value")
    for answer in nested if isinstance(nested, list) else []:
        values = answer.get("values") if isinstance(answer, Mapping) else None
        if isinstance(values, Mapping) and answer.get("status") in _COUNTED:
            given = values.get(question)
            yield given.get("value") if isinstance(given, Mapping) else given


def _suggestion(record: Record, name: str) -> Any:
    if name in record:
        return record[name]
    nested = record.get("suggestions")
    found = nested.get(name.removesuffix(_SUGGESTED)) if isinstance(nested, Mapping) else None
    return found.get("value") if isinstance(found, Mapping) else found
