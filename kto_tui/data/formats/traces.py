"""Traces of an application, exported with a score: Langfuse, W&B Weave, LangSmith and what looks like them.

Scores are looked for in `scores` (Langfuse), in feedback (Weave's reactions, LangSmith's), and in columns
beside. 0 and 1 are a thumb down and up; -1 is told apart from "not rated" by nobody, so that scores of -1,
0 and 1 need --desirable-at-least 1. Of several scores of one name the majority is taken.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import MISSING, Format, Record, look_up
from kto_tui.data.formats.checks import require_assistant
from kto_tui.data.formats.exports import chosen_rating
from kto_tui.data.formats.messages import assistant, text_or_messages, turns_before, user, with_system
from kto_tui.data.formats.names import ANSWERS, CHATS, HISTORIES, PROMPTS, RATINGS, SETTINGS, SYSTEMS
from kto_tui.data.formats.ratings import Judge, Judged, distinct
from kto_tui.data.formats.tools import parsed, read_tools
from kto_tui.data.rows import Columns, Message, Row
from kto_tui.data.wording import listed, shown

_BESIDE = (*SYSTEMS, *HISTORIES, "tools")  # Of a record, what belongs to its prompt.
# Keys by which JSON text is known for what an application sent.
_SENT = frozenset((*CHATS, *PROMPTS, "kwargs", "args", "role"))
_INPUTS, _OUTPUTS = ("input", "inputs"), ("output", "outputs")
_FEEDBACK = ("feedback", "summary.weave.feedback", "feedback_stats")
REACTION = "reaction"
_TEXTS = ("content", "text", *ANSWERS, "result", "value", "generated_text")
_DEEPEST = 8


class Trace(Judged):
    """One call of the application: what went in, what came out, and how it was found."""

    expects = "a trace with input, output and a score"

    def __init__(self, judge: Judge, prompt: str, answer: str) -> None:
        super().__init__(f"trace export (score: {judge.column})", judge, uses=(prompt, answer))
        self._prompt, self._answer = prompt, answer

    def _rows(self, record: Record, where: str) -> list[Row]:
        record = unflattened(record)
        values = [value for name, value in scores(record, self._judge.column) if name == self._judge.column]
        label = self._judge.majority(values, where)
        given, holder = _asked(
            *self._cell(record, self._prompt, "--prompt-column", where), self._prompt, where
        )
        prompt = _whole(given, holder, self._prompt, where)
        said = _said(self._cell(record, self._answer, "--completion-column", where)[0])
        answer = text_or_messages(said, self._answer, assistant, where)[-1:]
        require_assistant(answer, self._answer, where)
        return [Row(prompt, answer, label, where, read_tools(holder, where))]

    @staticmethod
    def _cell(record: Record, name: str, option: str, where: str) -> tuple[Any, Record]:
        """The value, and the object that it was found in; of the record what may belong to a prompt."""
        beside = {key: record[key] for key in _BESIDE if record.get(key)}
        if name in record:
            return record[name], beside
        head, dot, rest = name.partition(".")
        holder = parsed(record.get(head)) if dot else None
        for part in rest.split(".")[:-1] if dot else ():
            holder = parsed(holder.get(part)) if isinstance(holder, Mapping) else None
        last = rest.rpartition(".")[2]
        if isinstance(holder, Mapping) and last in holder:
            return holder[last], holder
        value = look_up(record, name)
        if value is MISSING:
            raise UserError(f'{where}: no "{name}"; found {listed(record)} (choose one with {option})')
        return value, {}


def recognize_traces(records: Sequence[Record], columns: Columns, source: str) -> Format | None:
    """The format, if these are traces."""
    whole = [unflattened(record) for record in records]
    keys = dict.fromkeys(name for record in whole for name in record)
    prompt = next((name for name in _INPUTS if name in keys), None)
    answer = next((name for name in _OUTPUTS if name in keys), None)
    if prompt is None or answer is None:
        return None
    wanted = columns.label if columns.names_label else None
    names = [name for record in whole for name, _ in scores(record, wanted)]
    found = chosen_rating(names, columns, source, any_name=False)
    score = found or columns.label
    values = distinct(value for record in whole for name, value in scores(record, score) if name == score)
    given = columns.prompt if columns.prompt != "prompt" else prompt
    said = columns.completion if columns.completion != "completion" else answer
    known = Trace(Judge.of(columns, score, values, source), given, said)
    known.settled = found is not None
    return known


def unflattened(record: Record) -> Record:
    """A record of a table, whose columns are named inputs.question and the like, as a nested one."""
    if not any(name.startswith(("input.", "inputs.", "output.", "outputs.")) for name in record):
        return record
    whole: dict[str, Any] = {}
    for name, value in record.items():
        head, dot, rest = name.partition(".")
        if not dot or head not in (*_INPUTS, *_OUTPUTS):
            whole[name] = value
        elif value not in (None, ""):
            inner = whole.setdefault(head, {})
            if isinstance(inner, dict):
                inner[rest] = value
    return whole


def scores(record: Record, wanted: str | None) -> Iterator[tuple[str, Any]]:
    """(name, value) of all scores of a trace; also of the column `wanted`, and of those of a usual name."""
    yield from _listed_scores(parsed(record.get("scores")))
    for place in _FEEDBACK:
        value = parsed(look_up(record, place))
        if isinstance(value, (list, Mapping)):
            yield from _feedback(value)
    for name in record:
        if name.startswith("summary.weave.feedback.") and name.endswith("payload.emoji"):
            yield REACTION, record[name] or None
    for name in dict.fromkeys((*RATINGS, *([wanted] if wanted else []))):
        value = look_up(record, name)
        if value is MISSING or isinstance(value, Mapping):
            continue
        value = parsed(value)
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, Mapping):
                yield name, None if item == "" else item


def _listed_scores(value: Any) -> Iterator[tuple[str, Any]]:
    """Langfuse: a list of objects, or an object of values (or lists of them) by name."""
    if isinstance(value, Mapping):
        for name, items in value.items():
            yield from ((str(name), item) for item in (items if isinstance(items, list) else [items]))
    for score in value if isinstance(value, list) else []:
        if isinstance(score, Mapping) and isinstance(score.get("name"), str):
            yield score["name"], _score(score)


def _score(score: Mapping[str, Any]) -> Any:
    text = score.get("stringValue", score.get("string_value"))
    kind = score.get("dataType", score.get("data_type"))
    if kind == "BOOLEAN":
        return bool(score["value"]) if score.get("value") in (0, 1) else text
    return text if kind == "CATEGORICAL" and isinstance(text, str) else score.get("value")


def _feedback(value: Any) -> Iterator[tuple[str, Any]]:
    """Weave: {"feedback_type", "payload"}; LangSmith: {"key", "score"}, or {key: {"n", "avg"}}."""
    if isinstance(value, Mapping):
        for name, stats in value.items():
            if isinstance(stats, Mapping) and "avg" in stats:
                yield str(name), stats["avg"]
    for item in value if isinstance(value, list) else []:
        if not isinstance(item, Mapping):
            continue
        payload = item.get("payload")
        if isinstance(item.get("key"), str):
            yield item["key"], item.get("score")
        elif isinstance(payload, Mapping):
            yield from _payload(str(item.get("feedback_type")), payload)


def _payload(kind: str, payload: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Emojis that are no thumbs say nothing of good and bad; notes do not either."""
    if kind.startswith("wandb.reaction"):
        emoji = payload.get("detoned", payload.get("emoji"))
        if isinstance(emoji, str) and emoji.startswith(("👍", "👎")):
            yield REACTION, emoji
    elif not kind.startswith("wandb.note"):
        found = next((payload[key] for key in ("value", "score", "output") if key in payload), None)
        if isinstance(found, (str, bool, int, float)):
            yield kind, found


def _whole(given: Any, holder: Record, column: str, where: str) -> list[Message]:
    """The prompt with the turns and the system prompt that stand beside it."""
    prompt = text_or_messages(given, column, user, where)
    return with_system([*turns_before(holder, where), *prompt], holder, where)


def _asked(value: Any, holder: Record, column: str, where: str) -> tuple[Any, Record]:
    """Text or messages in what went in, and the object that they were found in."""
    path, value = column, _opened(value)
    for _ in range(_DEEPEST):
        if not isinstance(value, Mapping):
            break
        if "role" in value and "content" in value:
            return [value], holder
        name = _prompt_in(value, path, where)
        holder = {**holder, **value}  # What stands beside may be further out than the prompt.
        if name == "args":
            kwargs = value.get("kwargs")
            holder |= kwargs if isinstance(kwargs, Mapping) else {}
            value = value["args"][0]
        else:
            value = value[name]
        path, value = f"{path}.{name}", _opened(value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]  # LangChain sends a batch of one.
    return value, holder


def _opened(value: Any) -> Any:
    """What JSON text holds, if that is a conversation or what an application sent; other text as it is."""
    found = parsed(value) if isinstance(value, str) else value
    if isinstance(found, Mapping) and isinstance(value, str):
        return found if not _SENT.isdisjoint(found) else value
    if isinstance(found, list) and isinstance(value, str):
        return found if any(isinstance(item, (Mapping, list)) for item in found) else value
    return found if isinstance(found, (Mapping, list)) else value


def _prompt_in(value: Mapping[str, Any], path: str, where: str) -> str:
    """The key of what was asked: the only one that is no setting. Raises UserError if there are more."""
    beside = {*SETTINGS, *SYSTEMS, *HISTORIES}
    parts = [
        name
        for name, item in value.items()
        if name not in beside and item and isinstance(item, (str, list, Mapping))
    ]
    if sorted(parts) == ["args", "kwargs"]:
        # Settings alone go by name where the prompt goes by place.
        named = value["kwargs"].items() if isinstance(value["kwargs"], Mapping) else [("", "")]
        settings = all(name in beside or isinstance(item, (int, float)) for name, item in named)
        parts = ["args"] if settings else parts
    if not parts and isinstance(value.get("user"), str) and value["user"]:
        return "user"
    usual = (*CHATS, *PROMPTS, "kwargs")
    if len(parts) == 1 and (
        parts[0] in usual or isinstance(value[parts[0]], str) or _is_sole(value, parts[0])
    ):
        return parts[0]
    names = listed(value) if value else shown(value)
    raise UserError(
        f'{where}: "{path}" holds {names}; choose the prompt in it with --prompt-column {path}.NAME'
    )


def _is_sole(value: Mapping[str, Any], name: str) -> bool:
    """Whether a call has that one argument."""
    return name == "args" and isinstance(value[name], list) and len(value[name]) == 1


def _said(value: Any) -> Any:
    """Text or messages in what came out: of OpenAI, LangChain, or an object with one text.

    Text that is JSON is what the model said, unless it holds what only clients of models return.
    """
    value = _unpacked(value)
    for _ in range(_DEEPEST):
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (list, Mapping)):
            if isinstance(value[0], Mapping) and ({"role", "type", "from"} & value[0].keys()):
                return value
            value = value[0]
            continue
        if not isinstance(value, Mapping):
            break
        if "role" in value and ("content" in value or "tool_calls" in value):
            return [value]
        for name in ("choices", "message", "generations", "messages", *_TEXTS):
            if value.get(name):
                value = _unpacked(value[name])
                break
        else:
            break
    return value


def _unpacked(value: Any) -> Any:
    found = parsed(value)
    if found is value:
        return value
    first = found
    while isinstance(first, list) and first:
        first = first[0]
    return found if isinstance(first, Mapping) and _is_envelope(first) else value


def _is_envelope(value: Mapping[str, Any]) -> bool:
    """Whether it is what clients of models return, and no JSON that a model wrote."""
    if "role" in value and ("content" in value or "tool_calls" in value):
        return True
    if isinstance(value.get("message"), Mapping):
        return True
    return any(isinstance(value.get(name), list) for name in ("choices", "generations", "messages"))
