"""The scores of a trace: Langfuse's, the feedback of W&B Weave and LangSmith, MLflow's assessments."""

from collections.abc import Iterator, Mapping
from typing import Any

from kto_tui.data.formats.base import MISSING, Record, look_up, parsed
from kto_tui.data.formats.names import RATINGS
from kto_tui.data.formats.ratings import REACTION

_COLUMN = "summary.weave.feedback."
_EMOJI, _VALUE = ".payload.emoji", ".payload.value"
_MOST_VOTES = 10_000
SCORES = (
    "scores",
    "summary",
    "assessments",
    "feedback",
    "feedback_stats",
    "feedback_scores",
)  # Columns that hold them.


def scores(record: Record, wanted: str | None) -> Iterator[tuple[str, Any]]:
    """(name, value) of all scores of a trace; also of the column `wanted`, and of those of a usual name."""
    yield from _held(record)
    yield from _columns_of_feedback(record)
    for name in dict.fromkeys((*RATINGS, *([wanted] if wanted else []))):
        yield from ((name, value) for value in _in_column(record, name))


def values_of(record: Record, name: str) -> list[Any]:
    """The values of one score of a trace."""
    values = [value for found, value in _held(record) if found == name]
    column = f"{_COLUMN}{name}{_VALUE}"
    if name == REACTION or column in record:
        values += [value for found, value in _columns_of_feedback(record) if found == name]
    return values + _in_column(record, name)


def _held(record: Record) -> Iterator[tuple[str, Any]]:
    """Those in the columns that are for scores."""
    for place in ("scores", "feedback_scores"):
        if place in record:
            yield from _listed_scores(parsed(record[place]))
    if "assessments" in record:
        yield from _assessments(parsed(record["assessments"]))
    for place in ("feedback", "feedback_stats"):
        if place in record:
            yield from _feedback(parsed(record[place]))
    if "summary" in record:
        weave = _inside(record["summary"], "weave")
        yield from _feedback(parsed(_inside(weave, "feedback")))
    if _COLUMN[:-1] in record:
        yield from _feedback(parsed(record[_COLUMN[:-1]]))


def _inside(value: Any, name: str) -> Any:
    """What an object, also one in JSON text, holds under that name."""
    found = parsed(value)
    return found.get(name) if isinstance(found, dict) else None


def _in_column(record: Record, name: str) -> list[Any]:
    """The ratings in a column of their own: one, or a list of them."""
    value = look_up(record, name)
    if value is MISSING or isinstance(value, dict):
        return []
    value = parsed(value)
    found = value if isinstance(value, list) else [value]
    return [None if item == "" else item for item in found if not isinstance(item, dict)]


def is_feedback(column: str) -> bool:
    """Whether a column of Weave's table of calls holds an emoji, or the value of an annotation."""
    return column.startswith(_COLUMN) and column.endswith((_EMOJI, _VALUE))


def _columns_of_feedback(record: Record) -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if not is_feedback(name):
            continue
        if name.endswith("emoji"):
            yield REACTION, _thumb(value)
        else:
            kind = name.removeprefix(_COLUMN).removesuffix(_VALUE)
            yield kind, None if value == "" else value


def _listed_scores(value: Any) -> Iterator[tuple[str, Any]]:
    """Langfuse and Opik: a list of objects, or an object of values (or lists of them), as Helicone's is.

    A correction of Langfuse's is a better answer, and no rating of this one.
    """
    if isinstance(value, dict):
        for name, items in value.items():
            for item in items if isinstance(items, list) else [items]:
                yield str(name), item.get("value") if isinstance(item, dict) else item
    for score in value if isinstance(value, list) else []:
        if not isinstance(score, dict) or not isinstance(score.get("name"), str):
            continue
        if score.get("dataType", score.get("data_type")) != "CORRECTION":
            yield score["name"], _score(score)


def _score(score: Mapping[str, Any]) -> Any:
    """The value; of a category its name, since its number is no more than a place in a list of names."""
    text, value = score.get("stringValue", score.get("string_value")), score.get("value")
    kind = score.get("dataType", score.get("data_type"))
    if kind == "BOOLEAN" and value in (0, 1):
        return bool(value)
    if kind in (None, "NUMERIC"):
        return value
    if text is None and isinstance(value, (int, float)):
        return f"{kind} {value}"  # Which no judge takes for a rating.
    return value if text is None else text


def _assessments(value: Any) -> Iterator[tuple[str, Any]]:
    """MLflow: what was found of the answer, but not what was overridden, nor what was expected."""
    for item in value if isinstance(value, list) else []:
        if isinstance(item, dict) and isinstance(found := item.get("feedback"), dict):
            name = item.get("assessment_name", item.get("name"))
            if isinstance(name, str) and item.get("valid") is not False:
                yield name, found.get("value")


def _feedback(value: Any) -> Iterator[tuple[str, Any]]:
    """Weave: {"feedback_type", "payload"}; LangSmith: {"key", "score", "value"}, or {key: statistics}.

    Others have a plain object, as {"thumb": "up", "comment": "..."}.
    """
    if isinstance(value, dict):
        for name, stats in value.items():
            if isinstance(stats, dict) and "avg" in stats:
                yield from ((str(name), item) for item in _counted(stats))
            elif name in RATINGS and not isinstance(stats, (list, dict)):
                yield name, stats
    for item in value if isinstance(value, list) else []:
        if not isinstance(item, dict):
            continue
        payload = item.get("payload")
        if isinstance(item.get("key"), str):
            yield item["key"], item.get("value") if item.get("score") is None else item["score"]
        elif isinstance(payload, dict):
            yield from _payload(str(item.get("feedback_type")), payload)


def _counted(stats: Mapping[str, Any]) -> Iterator[Any]:
    """{"n", "avg", "values"}: the average of numbers; categories have none, but are counted in values."""
    values = stats.get("values")
    if stats["avg"] is not None or not isinstance(values, dict) or not values:
        yield stats["avg"]
        return
    for name, count in values.items():
        for _ in range(min(count, _MOST_VOTES) if isinstance(count, int) else 1):
            yield name


def _payload(kind: str, payload: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Notes say nothing of good and bad."""
    if kind.startswith("wandb.reaction"):
        yield REACTION, _thumb(payload.get("detoned") or payload.get("emoji"))
    elif not kind.startswith("wandb.note"):
        found = next((payload[key] for key in ("value", "score", "output") if key in payload), None)
        if isinstance(found, (str, bool, int, float)):
            yield kind, found


def _thumb(emoji: Any) -> str | None:
    """Other emojis are no rating."""
    return emoji if isinstance(emoji, str) and emoji.startswith(("👍", "👎")) else None
