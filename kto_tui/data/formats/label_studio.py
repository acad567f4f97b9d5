"""Tasks out of Label Studio: its JSON export, and JSON_MIN, where choices stand beside the data.

Cancelled annotations do not count, nor do predictions. Of several annotations the majority is taken.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Format, Record, TiedError, UnratedError, is_filled, unread
from kto_tui.data.formats.checks import refuse_beside
from kto_tui.data.formats.exports import Exchange, chosen_rating
from kto_tui.data.formats.names import PROMPTS
from kto_tui.data.formats.ratings import Judge, Judged, distinct
from kto_tui.data.formats.tools import read_tools
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
        refuse_beside(data, where)
        return [Row(prompt, answer, label, where, read_tools(data, where) if "tools" in data else None)]


class LabelStudioPairwise(Format):
    """Two answers side by side, one of which people found better."""

    expects = LabelStudio.expects

    def __init__(self, exchanges: Sequence[Exchange], *, by_name: bool) -> None:
        """One for each answer. by_name: the tags that are compared are named as the fields of the answers."""
        uses = dict.fromkeys(name for exchange in exchanges for name in exchange.uses)
        super().__init__("Label Studio export, pairwise", uses=uses)
        self._exchanges, self._by_name = exchanges, by_name
        self._answers = [exchange.answer for exchange in exchanges]

    def _rows(self, record: Record, where: str) -> list[Row]:
        votes = [vote for result in _compared(record) if (vote := self._vote(result, where)) is not None]
        if not votes:
            raise UnratedError(f"{where}: no side was selected")
        first = votes.count(True)
        if first * 2 == len(votes):
            raise TiedError(f"{where}: both sides were selected as often")
        data = _data(record, where)
        pairs = [exchange.read(data, where) for exchange in self._exchanges]
        if pairs[0] == pairs[1]:
            raise TiedError(f"{where}: both answers are the same")
        refuse_beside(data, where)
        tools = read_tools(data, where)
        better, worse = pairs if first * 2 > len(votes) else reversed(pairs)
        return [Row(*better, True, where, tools), Row(*worse, False, where, tools)]

    def _vote(self, result: Mapping[str, Any], where: str) -> bool | None:
        """Whether the first of the answers was selected: tasks may show them the other way round."""
        side = _value(result["value"])
        if side not in ("left", "right"):
            return None
        names = _tags(result)
        if not self._by_name or names == self._answers:
            return bool(side == "left")
        if names == self._answers[::-1]:
            return bool(side == "right")
        raise UserError(
            f"{where}: compares {listed(names)}; expected {listed(self._answers)}, as in the first tasks"
        )


def recognize_label_studio(records: Sequence[Record], columns: Columns, source: str) -> Format | None:
    """The format, if these are Label Studio's tasks."""
    tasks = [r for r in records if isinstance(r.get("data"), dict) and isinstance(r.get("annotations"), list)]
    if tasks:
        return _tasks(tasks, columns, source)
    flat = [record for record in records if {"annotation_id", "lead_time"} <= record.keys()]
    if not flat:
        return None
    found = [
        name
        for record in flat
        for name, value in record.items()
        if isinstance(value, dict) and _value(value) is not value
    ]
    rest = [name for record in flat for name in record if name not in _ADDED]
    exchange = Exchange.among(rest, columns, source).settled(flat, source)
    plain = [name for name in rest if name not in (*exchange.uses, *exchange.beside)]
    filled = [name for name in plain if any(is_filled(record.get(name)) for record in flat)]
    names = [*found, *(name for name in plain if name == columns.label)] or filled or plain
    name = chosen_rating(names, columns, source) or columns.label
    values = distinct(_value(record.get(name)) for record in flat)
    known = LabelStudio(Judge.of(columns, name, values, source, names), exchange, flat=True)
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
    judge = Judge.of(columns, name or columns.label, values, source, names)
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
    beside = Exchange(prompt, None).beside
    answers = [name for name in fields if name not in (prompt, "id", *beside)]
    sides, by_name = _sides(tasks, answers, columns, source)
    data = [task["data"] for task in tasks]
    known = LabelStudioPairwise(
        [Exchange(prompt, name).settled(data, source) for name in sides], by_name=by_name
    )
    known.unread = unread(data, (prompt, *sides, *beside))
    return known


def _sides(
    tasks: Sequence[Record], answers: list[str], columns: Columns, source: str
) -> tuple[tuple[str, str], bool]:
    """The fields that were shown left and right: Label Studio compares what `to_name` lists, in its order.

    That names tags of the labelling interface, which often but not always are called as their fields are:
    whether they are is told, too.
    """
    named = columns.completion != "completion"
    if named and columns.completion in answers and len(answers) == 2:
        return (columns.completion, next(name for name in answers if name != columns.completion)), False
    compared = [name for task in tasks for result in _compared(task) for name in _tags(result)]
    names = list(dict.fromkeys(compared))
    if len(names) == 2 and set(names) <= set(answers):
        return (names[0], names[1]), True
    if {"left", "right"} <= set(answers):
        return ("left", "right"), False
    raise UserError(
        f"{source}: found the answers {listed(answers)}, and not which of two was shown left; choose that"
        " with --completion-column, and leave fields out that are no answers"
    )


def _data(record: Record, where: str) -> Record:
    data = record.get("data")
    if not isinstance(data, dict):
        raise UserError(f'{where}: no "data"; found {listed(record)}; expected {LabelStudio.expects}')
    return data


def _annotated(record: Record) -> Iterator[Mapping[str, Any]]:
    """All that was annotated and not cancelled."""
    annotations = record.get("annotations")
    for annotation in annotations if isinstance(annotations, list) else []:
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        results = annotation.get("result")
        for result in results if isinstance(results, list) else []:
            if isinstance(result, dict) and isinstance(result.get("value"), dict):
                yield result


def _results(record: Record) -> Iterator[tuple[str, str, Any]]:
    """(name of the control, its kind, the value) of all that was annotated."""
    for result in _annotated(record):
        yield str(result.get("from_name")), str(result.get("type")), _value(result["value"])


def _compared(record: Record) -> Iterator[Mapping[str, Any]]:
    return (result for result in _annotated(record) if result.get("type") == "pairwise")


def _tags(result: Mapping[str, Any]) -> list[str]:
    """The tags of the labelling interface that were compared, from left to right."""
    return [name.strip() for name in str(result.get("to_name")).split(",")]


def _choices(record: Record, name: str) -> Iterator[Any]:
    for result in _annotated(record):
        if result.get("from_name") == name and result.get("type") in _KINDS:
            yield _value(result["value"])


def _value(value: Any) -> Any:
    """What was chosen: {"choices": ["Good"]}, {"rating": 4}, {"selected": "left"}, or that value itself."""
    if isinstance(value, dict):
        inner = next((value[key] for key in (*_KINDS, "selected") if key in value), None)
        value = value if inner is None else inner
    return value[0] if isinstance(value, list) and len(value) == 1 else value
