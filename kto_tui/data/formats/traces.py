"""Traces of an application, exported with a score: Langfuse, W&B Weave, LangSmith, MLflow and the like.

Scores are looked for in `scores` (Langfuse), in feedback (Weave's reactions, LangSmith's), in MLflow's
assessments, and in columns beside. 0 and 1 are a thumb down and up; -1 is told apart from "not rated" by
nobody, so that scores of -1, 0 and 1 need --desirable-at-least 1. Of several scores of one name the majority
is taken.

Trained on is the last message of the output, with its reasoning and its calls of tools. What the model said
and was told before (calls, their results, turns of an agent) is part of the prompt.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import MISSING, Format, Record, look_up, unread
from kto_tui.data.formats.checks import require_assistant, require_text
from kto_tui.data.formats.exports import chosen_rating
from kto_tui.data.formats.messages import (
    assistant,
    split_answer,
    text_or_messages,
    turns_before,
    user,
    with_system,
)
from kto_tui.data.formats.names import HISTORIES, MESSAGE_KEYS, SETTINGS, SYSTEMS
from kto_tui.data.formats.ratings import Judge, Judged, distinct
from kto_tui.data.formats.tools import Tool, parsed, read_tools
from kto_tui.data.formats.trace_scores import SCORES, is_feedback, scores
from kto_tui.data.formats.trace_texts import (
    answer_in,
    asked,
    in_order,
    opened,
    prompt_in,
    require_whole,
    said,
    unpacked,
)
from kto_tui.data.rows import Columns, Message, Row
from kto_tui.data.wording import listed

_BESIDE = (*SYSTEMS, *HISTORIES, "tools")  # Of a record, what belongs to its prompt.
Tools = list[Tool] | None
_INPUTS, _OUTPUTS = ("input", "inputs"), ("output", "outputs")
# MLflow's, Helicone's and Phoenix's, which are no trace one without the other.
_PAIRS = (
    ("request", "response"),
    ("request_body", "response_body"),
    ("attributes.input.value", "attributes.output.value"),
)
# What clients of models return beside the answer, and what is no part of it.
_ABOUT_ANSWERS = frozenset(
    {
        *("id", "object", "created", "model", "usage", "system_fingerprint", "service_tier", "llm_output"),
        *("type", "run", "usage_metadata", "response_metadata", "additional_kwargs", "stop_reason"),
    }
)


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
        prompt, answer, tools = self._exchange(record, where)
        require_whole(prompt, self._prompt, where)
        require_whole(answer, self._answer, where)
        require_text(answer, f'"{self._answer}"', where)
        return [Row(prompt, answer, label, where, tools)]

    def _exchange(self, record: Record, where: str) -> tuple[list[Message], list[Message], Tools]:
        value, beside = self._cell(record, self._answer, "--completion-column", where)
        output = text_or_messages(said(value, self._answer, where), self._answer, assistant, where)
        if self._prompt == self._answer:
            prompt, answer = split_answer(output, self._answer, where)
            return with_system(prompt, beside, where), answer, read_tools(beside, where)
        require_assistant(output, self._answer, where)
        given, holder = asked(
            *self._cell(record, self._prompt, "--prompt-column", where), self._prompt, where
        )
        prompt = text_or_messages(given, self._prompt, user, where)
        prompt = with_system([*turns_before(holder, where), *prompt], holder, where)
        prompt, answer = in_order(prompt, output, (self._prompt, self._answer), where)
        return prompt, answer, read_tools({"tools": holder.get("tools") or holder.get("functions")}, where)

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
    both = _columns(keys)
    if both is None:
        return None
    prompt, answer = both
    wanted = columns.label if columns.names_label else None
    names = [name for record in whole for name, _ in scores(record, wanted)]
    found = chosen_rating(names, columns, source, any_name=False)
    if found is None and both in _PAIRS and not {"assessments", "scores"} & keys.keys():
        return None  # Columns of these names may be anything.
    score = found or columns.label
    values = distinct(value for record in whole for name, value in scores(record, score) if name == score)
    given = columns.prompt if columns.prompt != "prompt" else prompt
    chosen = columns.completion if columns.completion != "completion" else answer
    known = Trace(Judge.of(columns, score, values, source), given, chosen)
    known.settled = found is not None
    known.unread = _unread(whole, given, chosen, score)
    return known


def _columns(names: Container[str]) -> tuple[str, str] | None:
    prompt = next((name for name in _INPUTS if name in names), None)
    answer = next((name for name in _OUTPUTS if name in names), None)
    if prompt and answer:
        return prompt, answer
    return next((pair for pair in _PAIRS if pair[0] in names and pair[1] in names), None)


def _unread(records: Sequence[Record], prompt: str, answer: str, score: str) -> tuple[str, ...]:
    """What lies beside prompt and answer where they were found, and the columns that are not read."""
    beside = dict.fromkeys(
        name
        for record in records
        for name in (
            *_parts(record, prompt, opened, prompt_in, _BESIDE, SETTINGS),
            *_parts(record, answer, unpacked, answer_in, (), _ABOUT_ANSWERS),
        )
    )
    read = {*_BESIDE, *SCORES, score, prompt.partition(".")[0], answer.partition(".")[0]}
    rest = (name for name in unread(records, read) if not is_feedback(name))
    return (*beside, *rest)


def _parts(
    record: Record,
    column: str,
    open_: Callable[[Any], Any],
    choose: Callable[[Mapping[str, Any], str, str], str | None],
    read: Container[str],
    about: Container[str],
) -> Iterator[str]:
    """The keys of the object in a column that hold something and are not read."""
    head, _, rest = column.partition(".")
    value = parsed(record.get(head)) if rest else open_(record.get(head))
    if not isinstance(value, Mapping):
        return
    try:
        chosen = rest.partition(".")[0] or ("content" if "role" in value else choose(value, column, ""))
    except UserError:
        return  # What cannot be chosen from is refused when the row is read.
    known = (*MESSAGE_KEYS, "refusal") if chosen in ("content", None) else ()
    for name, item in value.items():
        unused = name not in (chosen, *known) and name not in read and name not in about
        if unused and item not in (None, "", [], {}):
            yield f"{head}.{name}"


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
