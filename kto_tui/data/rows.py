"""Rated rows, and the forms in which they come: prompt and completion, or one conversation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.labels import EXPECTED, parse_label
from kto_tui.data.wording import listed, shown

Message = dict[str, Any]  # role and content, and what chat templates know beside: tool_calls, name, ...
Text = str | list[Message]
CONVERSATION = "messages"


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are read."""

    prompt: str = "prompt"
    completion: str = "completion"
    label: str = "label"


@dataclass(frozen=True, slots=True)
class Row:
    """One rated answer. Prompt and completion are both text, or both lists of {"role", "content"}.

    `where` tells a person where the row lies: "train.jsonl, row 41", counted from 1. `tools` are the
    functions that the conversation may call, as chat templates take them (JSON schemas).
    """

    prompt: Text
    completion: Text
    label: bool
    where: str
    tools: list[dict[str, Any]] | None = None


def parse_row(record: Any, columns: Columns, where: str) -> Row:
    """The row in a record of any of the known forms. Raises UserError that names the place and the column."""
    if not isinstance(record, Mapping):
        raise UserError(f"{where}: found {shown(record)}; expected an object with {_wanted(columns)}")
    prompt, completion = _answer(record, columns, where)
    return Row(prompt, completion, _label(record, columns, where), where)


def _wanted(columns: Columns) -> str:
    return f"{columns.prompt}, {columns.completion} and {columns.label}"


def _label(record: Mapping[str, Any], columns: Columns, where: str) -> bool:
    value = _cell(record, columns.label, "--label-column", where)
    label = parse_label(value)
    if label is None:
        raise UserError(
            f'{where}: "{columns.label}" is {shown(value)}; expected {EXPECTED}'
            " (choose the column with --label-column)"
        )
    return label


def _cell(record: Mapping[str, Any], name: str, option: str, where: str) -> Any:
    if name not in record:
        raise UserError(f'{where}: no column "{name}"; found {listed(record)} (choose one with {option})')
    return record[name]


def _answer(record: Mapping[str, Any], columns: Columns, where: str) -> tuple[Text, Text]:
    """Prompt and completion in one form."""
    if CONVERSATION in record and not (columns.prompt in record and columns.completion in record):
        return _split(_messages(record[CONVERSATION], CONVERSATION, where), where)
    prompt = _text(record, columns.prompt, "--prompt-column", where)
    completion = _text(record, columns.completion, "--completion-column", where)
    if isinstance(prompt, str) and isinstance(completion, str):
        return prompt, completion
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if isinstance(completion, str):
        completion = [{"role": "assistant", "content": completion}]
    _require_assistant(completion, columns.completion, where)
    return prompt, completion


def _split(messages: list[Message], where: str) -> tuple[Text, Text]:
    _require_assistant(messages, CONVERSATION, where)
    if len(messages) == 1:
        raise UserError(f'{where}: "{CONVERSATION}" holds the answer alone; expected its prompt before it')
    prompt, completion = messages[:-1], messages[-1:]
    _require_text(prompt, 'the prompt in "messages"', where)
    _require_text(completion, 'the answer in "messages"', where)
    return prompt, completion


def _require_assistant(messages: list[Message], column: str, where: str) -> None:
    role = messages[-1]["role"]
    if role != "assistant":
        raise UserError(
            f'{where}: the last message of "{column}" is of role {shown(role)};'
            " expected the rated answer, of role assistant"
        )


def _text(record: Mapping[str, Any], column: str, option: str, where: str) -> Text:
    value = _cell(record, column, option, where)
    text = value if isinstance(value, str) else _messages(value, column, where)
    _require_text(text, f'"{column}"', where)
    return text


def _messages(value: Any, column: str, where: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        wanted = "a list of messages" if column == CONVERSATION else "text, or a list of messages"
        raise UserError(f'{where}: "{column}" is {shown(value)}; expected {wanted}')
    return [_message(item, f'{where}, message {n} of "{column}"') for n, item in enumerate(value, 1)]


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, Mapping):
        raise UserError(f"{where}: found {shown(item)}; expected an object with role and content")
    for key in ("role", "content"):
        if key not in item:
            raise UserError(f"{where}: no {key}; found {listed(item)}; expected role and content")
        if not isinstance(item[key], str):
            raise UserError(f"{where}: {key} is {shown(item[key])}; expected text")
    return {"role": item["role"], "content": item["content"]}


def _require_text(text: Text, part: str, where: str) -> None:
    """Refuse what cannot be learned from, and what no tokenizer takes."""
    pieces = [text] if isinstance(text, str) else [message["content"] for message in text]
    if all(not piece or piece.isspace() for piece in pieces):
        raise UserError(f"{where}: {part} is empty; fill it in or remove the row")
    for piece in pieces:
        if "\0" in piece:
            raise UserError(f"{where}: {part} holds a NUL character; remove it")
        if not _is_encodable(piece):
            raise UserError(f"{where}: {part} holds half of a surrogate pair (\\ud800 to \\udfff); remove it")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
