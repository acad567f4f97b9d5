"""Tasks out of Label Studio: its JSON export, and JSON_MIN, where choices stand beside the data.

Cancelled annotations do not count, nor do predictions. Of several annotations the majority is taken.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Format, Record, TiedError, UnratedError, unread
from kto_tui.data.formats.exports import Exchange, chosen_rating
from kto_tui.data.formats.messages import answer_alone, assistant, text_or_messages, user, with_system
from kto_tui.data.formats.names import PROMPTS, SYSTEMS
from kto_tui.data.formats.ratings import Judge, Judged, distinct
from kto_tui.data.rows import Columns, Row
from kto_tui.data.wording import listed

_ADDED = frozenset(("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"))
_KINDS = ("choices", "rating", "number")


class LabelStudio(Judged):
    """One task with its annotations."""

    expects = "a task with data and annotations"

    def __init__(self, judge: Judge, exchange: Exchange, *, flat: bool) -> None:
        name = "Label Studio export (JSON_MIN)" if flat else "Label Studio export"
        super().__init__(name, judge, uses=exchange.uses)
        self._exchange, self._flat = exchange, flat

    def _rows(self, record: Record, where: str) -> list[Row]:
        column = self._judge.column
        values = [_value(record.get(column))] if self._flat else list(_choices(record, column))
        label = self._judge.majority(values, where)
        data = record if self._flat else _data(record, where)
        prompt, answer = self._exchange.read(data, where)
        return [Row(prompt, answer, label, where)]


class LabelStudioPairwise(Format):
    """Two answers side by side, one of which people found better."""

    expects = LabelStudio.expects

    def __init__(self, prompt: str, answers: tuple[str, str]) -> None:
        super().__init__("Label Studio export, pairwise", uses=(prompt, *answers))
        self._prompt, self._answers = prompt, answers

    def _rows(self, record: Record, where: str) -> list[Row]:
        votes = [
            side for _, kind, side in _results(record) if kind == "pairwise" and side in ("left", "right")
        ]
        if not votes:
            raise UnratedError(f"{where}: no side was selected")
        left = votes.count("left")
        if left * 2 == len(votes):
            raise TiedError(f"{where}: both sides were selected as often")
        data = _data(record, where)
        prompt = with_system(text_or_messages(data.get(self._prompt), self._prompt, user, where), data, where)
        answers = [text_or_messages(data.get(name), name, assistant, where) for name in self._answers]
        pairs = [
            answer_alone(prompt, answer, name, where)
            for name, answer in zip(self._answers, answers, strict=True)
        ]
        better, worse = pairs if left * 2 > len(votes) else reversed(pairs)
        return [Row(*better, True, where), Row(*worse, False, where)]


def recognize_label_studio(records: Sequence[Record], columns: Columns, source: str) -> Format | None:
    """The format, if these are Label Studio's tasks."""
    tasks = [
        r for r in records if isinstance(r.get("data"), Mapping) and isinstance(r.get("annotations"), list)
    ]
    if tasks:
        return _tasks(tasks, columns, source)
    flat = [record for record in records if {"annotation_id", "lead_time"} <= record.keys()]
    if not flat:
        return None
    found = [
        name
        for record in flat
        for name, value in record.items()
        if isinstance(value, Mapping) and _value(value) is not value
    ]
    rest = [name for record in flat for name in record if name not in _ADDED]
    exchange = Exchange.among(rest, columns, source).settled(flat, source)
    plain = [name for name in rest if name not in (exchange.prompt, exchange.answer, "system")]
    name = chosen_rating(found or plain, columns, source) or columns.label
    values = distinct(_value(record.get(name)) for record in flat)
    known = LabelStudio(Judge.of(columns, name, values, source), exchange, flat=True)
    known.unread = exchange.unread(flat, (*_ADDED, name))
    return known


def _tasks(tasks: Sequence[Record], columns: Columns, source: str) -> Format:
    fields = [name for task in tasks for name in task["data"]]
    results = [result for task in tasks for result in _results(task)]
    names = [name for name, kind, _ in results if kind in _KINDS]
    if not names and not columns.names_label and any(kind == "pairwise" for _, kind, _ in results):
        return _pairwise(tasks, list(dict.fromkeys(fields)), columns, source)
    name = chosen_rating(names, columns, source)
    values = distinct(value for task in tasks for value in _choices(task, name or ""))
    judge = Judge.of(columns, name or columns.label, values, source)
    exchange = Exchange.among(fields, columns, source).settled([task["data"] for task in tasks], source)
    known = LabelStudio(judge, exchange, flat=False)
    known.settled = name is not None
    known.unread = exchange.unread(task["data"] for task in tasks)
    return known


def _pairwise(tasks: Sequence[Record], fields: list[str], columns: Columns, source: str) -> Format:
    usual = (columns.prompt, *PROMPTS)
    prompt = next((name for name in usual if name in fields), None)
    if prompt is None:
        raise UserError(
            f"{source}: found the fields {listed(fields)}; choose the prompt with --prompt-column"
        )
    answers = [name for name in fields if name not in (prompt, "id", *SYSTEMS)]
    left, right = _sides(tasks, answers, columns, source)
    known = LabelStudioPairwise(prompt, (left, right))
    known.unread = unread((task["data"] for task in tasks), (prompt, left, right, *SYSTEMS))
    return known


def _sides(tasks: Sequence[Record], answers: list[str], columns: Columns, source: str) -> tuple[str, str]:
    """The fields that were shown left and right: Label Studio compares what `to_name` lists, in its order.

    That names tags of the labelling interface, which often but not always are called as their fields are.
    """
    named = columns.completion != "completion"
    if named and columns.completion in answers and len(answers) == 2:
        return columns.completion, next(name for name in answers if name != columns.completion)
    compared = [
        name.strip()
        for task in tasks
        for result in _compared(task)
        for name in str(result.get("to_name")).split(",")
    ]
    names = list(dict.fromkeys(compared))
    if len(names) == 2 and set(names) <= set(answers):
        return names[0], names[1]
    if {"left", "right"} <= set(answers):
        return "left", "right"
    raise UserError(
        f"{source}: found the answers {listed(answers)}, and not which of two was shown left; choose that"
        " with --completion-column, and leave fields out that are no answers"
    )


def _data(record: Record, where: str) -> Record:
    data = record.get("data")
    if not isinstance(data, Mapping):
        raise UserError(f'{where}: no "data"; found {listed(record)}; expected {LabelStudio.expects}')
    return data


def _annotated(record: Record) -> Iterator[Mapping[str, Any]]:
    """All that was annotated and not cancelled."""
    annotations = record.get("annotations")
    for annotation in annotations if isinstance(annotations, list) else []:
        if not isinstance(annotation, Mapping) or annotation.get("was_cancelled"):
            continue
        results = annotation.get("result")
        for result in results if isinstance(results, list) else []:
            if isinstance(result, Mapping) and isinstance(result.get("value"), Mapping):
                yield result


def _results(record: Record) -> Iterator[tuple[str, str, Any]]:
    """(name of the control, its kind, the value) of all that was annotated."""
    for result in _annotated(record):
        yield str(result.get("from_name")), str(result.get("type")), _value(result["value"])


def _compared(record: Record) -> Iterator[Mapping[str, Any]]:
    return (result for result in _annotated(record) if result.get("type") == "pairwise")


def _choices(record: Record, name: str) -> Iterator[Any]:
    return (value for found, kind, value in _results(record) if found == name and kind in _KINDS)


def _value(value: Any) -> Any:
    """What was chosen: {"choices": ["Good"]}, {"rating": 4}, {"selected": "left"}, or that value itself."""
    if isinstance(value, Mapping):
        inner = next((value[key] for key in (*_KINDS, "selected") if key in value), None)
        value = value if inner is None else inner
    return value[0] if isinstance(value, list) and len(value) == 1 else value
