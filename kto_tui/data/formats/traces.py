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
from kto_tui.data.formats.base import Format, Record, parsed, unread
from kto_tui.data.formats.before import put_before, without_itself
from kto_tui.data.formats.checks import require_assistant, require_text
from kto_tui.data.formats.exports import chosen_rating
from kto_tui.data.formats.messages import (
    assistant,
    only_filled,
    split_answer,
    text_or_messages,
    user,
)
from kto_tui.data.formats.names import MESSAGE_KEYS, SETTINGS, SYSTEMS
from kto_tui.data.formats.ratings import Judge, Judged, distinct
from kto_tui.data.formats.tools import Tool, read_tools
from kto_tui.data.formats.trace_beside import BESIDE, INSTRUCTIONS, column_of, find, is_request
from kto_tui.data.formats.trace_encoded import (
    are_quoted,
    require_plain_answers,
    require_plain_prompts,
    unquoted,
)
from kto_tui.data.formats.trace_python import is_python
from kto_tui.data.formats.trace_scores import SCORES, is_feedback, scores, values_of
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

Tools = list[Tool] | None
_INPUTS, _OUTPUTS = ("input", "inputs"), ("output", "outputs")
_HEADS = frozenset((*_INPUTS, *_OUTPUTS))
_FLAT = ("input.", "inputs.", "output.", "outputs.")
# What objects of settings may hold that the model was told.
_FOR_THE_MODEL = (*SYSTEMS, "system_instruction", "tools")
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

    def __init__(self, judge: Judge, prompt: str, answer: str, quoted: Container[str] = ()) -> None:
        super().__init__(f"trace export (score: {judge.column})", judge, uses=(prompt, answer))
        self._prompt, self._answer, self._quoted = prompt, answer, quoted

    def _rows(self, record: Record, where: str) -> list[Row]:
        record = unflattened(record)
        label = self._judge.majority(values_of(record, self._judge.column), where)
        prompt, answer, tools = self._exchange(record, where)
        require_whole(prompt, self._prompt, where)
        require_whole(answer, self._answer, where)
        return [Row(prompt, answer, label, where, tools)]

    def _exchange(self, record: Record, where: str) -> tuple[list[Message], list[Message], Tools]:
        whole = self._prompt == self._answer
        value, beside = self._found(record, self._answer, "--completion-column", where, around=whole)
        output = text_or_messages(said(value, self._answer, where), self._answer, assistant, where)
        if whole:
            prompt, answer = split_answer(output, self._answer, where)
            return self._begun(prompt, beside, where), answer, _tools(beside, where)
        require_assistant(output, self._answer, where)
        if len(output) > 1:
            require_text(output[-1:], f'"{self._answer}"', where)
        value, beside = self._found(record, self._prompt, "--prompt-column", where)
        given, beside = asked(value, beside, self._prompt, where)
        prompt = self._begun(text_or_messages(given, self._prompt, user, where), beside, where)
        prompt, answer = in_order(prompt, output, (self._prompt, self._answer), where)
        return without_itself(prompt, answer, beside), answer, _tools(beside, where)

    def _found(
        self, record: Record, name: str, option: str, where: str, *, around: bool = True
    ) -> tuple[Any, Record]:
        """The value, and what belongs to a prompt of the objects that it was found in."""
        found = find(record, name, where, around=around)
        if found is None:
            raise UserError(f'{where}: no "{name}"; found {listed(record)} (choose one with {option})')
        return (unquoted(found[0]), found[1]) if name in self._quoted else found

    def _begun(self, prompt: list[Message], beside: Record, where: str) -> list[Message]:
        """The prompt with what was said before it."""
        return put_before(prompt, beside, where) if beside else prompt


def _tools(beside: Record, where: str) -> Tools:
    name = only_filled(beside, ("tools", "functions"), where) if beside else None
    return read_tools({"tools": beside[name]}, where) if name else None


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
    if found is None:
        _require_read(whole, source)
    score = found or columns.label
    values = distinct(value for record in whole for name, value in scores(record, score) if name == score)
    given = columns.prompt if columns.prompt != "prompt" else prompt
    chosen = columns.completion if columns.completion != "completion" else answer
    if columns.prompt != prompt and given == prompt:
        require_plain_prompts(whole, prompt, chosen, source)
    if columns.completion != answer and chosen == answer:
        require_plain_answers(whole, answer, source)
    quoted = [name for name in both if both == _PAIRS[0] and are_quoted(r.get(name) for r in whole)]
    known = Trace(Judge.of(columns, score, values, source, names), given, chosen, quoted)
    known.settled = found is not None
    known.unread = _unread(whole, given, chosen, score)
    return known


def _require_read(records: Sequence[Record], source: str) -> None:
    """Refuse scores that nobody can read, rather than call their records unrated."""
    for name in SCORES:
        if any(is_python(record.get(name)) for record in records):
            raise UserError(
                f'{source}: "{name}" holds an object as Python prints it; expected JSON'
                " (save the data set as .jsonl or .parquet)"
            )


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
            *_parts(record, prompt, opened, prompt_in, BESIDE, SETTINGS),
            *_parts(record, answer, unpacked, answer_in, (), _ABOUT_ANSWERS),
        )
    )
    columns = (column_of(record, name) for record in records for name in (prompt, answer))
    read = {*BESIDE, *SCORES, score, prompt, answer, *columns}
    read |= {INSTRUCTIONS} if any(map(is_request, records)) else set()
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
    head = column_of(record, column)
    rest = column[len(head) + 1 :]
    value = parsed(record.get(head)) if rest else open_(record.get(head))
    if not isinstance(value, Mapping):
        return
    named = rest if rest in value else rest.partition(".")[0]
    try:
        chosen = named or ("content" if "role" in value else choose(value, column, ""))
    except UserError:
        return  # What cannot be chosen from is refused when the row is read.
    known = [*MESSAGE_KEYS, "refusal"] if chosen in ("content", None) else []
    known += ["text"] if value.get("object") == "response" else []  # Which is how to write it.
    known += ["kwargs"] if chosen == "args" and not named else []
    known += [INSTRUCTIONS] if is_request(value) else []
    for name, item in value.items():
        unused = name not in (chosen, *known) and name not in read
        if unused and item not in (None, "", [], {}):
            if name not in about:
                yield f"{head}.{name}"
            elif isinstance(item, Mapping):
                yield from (f"{head}.{name}.{key}" for key in _FOR_THE_MODEL if item.get(key))


def unflattened(record: Record) -> Record:
    """A record of a table, whose columns are named inputs.question and the like, as a nested one."""
    for name in record:
        if name.startswith(_FLAT):
            break
    else:
        return record
    whole: dict[str, Any] = {}
    for name, value in record.items():
        head, dot, rest = name.partition(".")
        if dot and head in _HEADS:
            if value not in (None, "") and isinstance(inner := whole.setdefault(head, {}), dict):
                inner[rest] = value
        elif name not in whole:
            whole[name] = dict(value) if name in _HEADS and isinstance(value, dict) else value
        elif isinstance(value, dict):
            whole[name] |= value
    return whole
