"""JSON Lines: one object a line. Blank lines are passed over."""

import io
import json
from collections.abc import Collection, Iterator
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.files.json_text import BROKEN, DECODER, is_cut, problem
from kto_tui.data.files.text import numbered_lines, text_blocks


def read_json_lines(
    stream: io.BufferedReader, source: str, columns: Collection[str] | None
) -> Iterator[tuple[str, Any]]:
    """(where, value) of each line."""
    del columns
    row = 0
    for number, line in numbered_lines(text_blocks(stream, source), source):
        if line and not line.isspace():
            row += 1
            record = _decoded(line, f"{source}, line {number}", is_first=row == 1)
            if row == 1 and isinstance(record, list):
                raise UserError(
                    f"{source}, line {number}: found a list; expected an object"
                    " (one list for all rows? then name the file .json)"
                )
            yield f"{source}, row {row}", record


def _decoded(line: str, place: str, *, is_first: bool) -> Any:
    try:
        return DECODER.decode(line)
    except json.JSONDecodeError as error:
        hint = _hint(error, line, is_first)
        raise UserError(f"{place}, column {error.pos + 1}: {problem(error)}{hint}") from None
    except BROKEN as error:
        raise UserError(f"{place}: {problem(error)}") from None


def _hint(error: json.JSONDecodeError, line: str, is_first: bool) -> str:
    text = line.strip()
    if text[0] == "[":
        return " (one list for all rows? then name the file .json)"
    if is_first and text == "{":
        return " (one object over several lines? then write each row on one line)"
    if is_first and text[0].isalpha() and "," in text:
        return " (a table with commas? then name the file .csv)"
    if is_cut(error, line):
        return "; the line ends in the middle; is the file cut short?"
    return ""
