"""What tables and tools write as JSON text, and what the model may have written so."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kto_tui.core.errors import UserError, printable
from kto_tui.data.formats.base import Record, parsed
from kto_tui.data.formats.trace_beside import column_of
from kto_tui.data.formats.trace_python import refuse_python_objects
from kto_tui.data.formats.trace_texts import NO_PROMPT, answer_in, opened, prompt_in, unpacked


def require_plain_answers(records: Sequence[Record], answer: str, source: str) -> None:
    """Refuse text of which nobody can tell whether the application made it, or the model.

    In a table, what came out as an object is JSON text, as it would be if the model had said that. Elsewhere
    objects are objects.
    """
    cells = _cells(records, answer)
    refuse_python_objects(cells, answer, "--completion-column", source)
    found = [_wrapped(value, unpacked, answer_in) for value in cells] if _is_table(records) else []
    if all(found) and len(names := {name for name in found if name}) == 1:
        raise _ask(answer, names.pop(), "answer", "--completion-column", source)


def require_plain_prompts(records: Sequence[Record], prompt: str, answer: str, source: str) -> None:
    """The same of what was asked, which is told from a person's JSON by settings in it, or by the answers."""
    cells = _cells(records, prompt)
    refuse_python_objects(cells, prompt, "--prompt-column", source)
    objects = [item for value in cells if isinstance(item := _object(value, opened), Mapping)]
    if not _is_table(records) or not cells or len(objects) < len(cells):
        return
    sent = any(not NO_PROMPT.isdisjoint(item) for item in objects)
    if sent or all(isinstance(parsed(value), (list, dict)) for value in _cells(records, answer)):
        found = {_wrapped(value, opened, prompt_in) for value in cells}
        name = found.pop() if len(found) == 1 else None
        raise _ask(prompt, name or "NAME", "prompt", "--prompt-column", source)


def _cells(records: Sequence[Record], name: str) -> list[Any]:
    """The filled ones of a column; of one that a name with dots leads into, all of it."""
    cells = (record.get(column_of(record, name)) for record in records)
    return [value for value in cells if value not in (None, "")]


def _is_table(records: Sequence[Record]) -> bool:
    return not any(isinstance(value, (list, dict)) for record in records for value in record.values())


def _ask(column: str, name: str, part: str, option: str, source: str) -> UserError:
    return UserError(
        f'{source}: "{column}" holds JSON text; choose the {part} in it with {option}'
        f" {printable(f'{column}.{name}')}, or all of that text with {option} {column}"
    )


def _object(value: Any, open_: Callable[[Any], Any]) -> Any:
    """What JSON text holds that is not opened anyway."""
    found = open_(value)
    return parsed(found) if isinstance(found, str) else None


def _wrapped(
    value: Any, open_: Callable[[Any], Any], choose: Callable[[Mapping[str, Any], str, str], str | None]
) -> str | None:
    """The key of prompt or answer in it."""
    inner = _object(value, open_)
    try:
        return choose(inner, "", "") if isinstance(inner, Mapping) else None
    except UserError:
        return None


def are_quoted(values: Iterable[Any]) -> bool:
    """Whether all text is JSON: MLflow encodes what is text, too."""
    texts = [value for value in values if isinstance(value, str) and value]
    return any(unquoted(text) is not text for text in texts) and all(_is_json(text) for text in texts)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def unquoted(value: Any) -> Any:
    """The text that JSON text holds; anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith('"'):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
