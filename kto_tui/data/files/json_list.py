"""One JSON list of rows, or an object that holds one list, read row by row; or an object a line.

The standard library's decoder reads one value at a time out of a window on the text. Where a value goes on
behind the window, the window is doubled and the value read again, so that time stays linear in the length.
"""

import io
import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.files.json_text import BROKEN, DECODER, is_cut, problem
from kto_tui.data.files.limits import BLOCK, LARGEST_ROW
from kto_tui.data.files.text import text_blocks, too_long
from kto_tui.data.wording import shown

_SPACE = re.compile(r"[ \t\n\r]*")
_CUT = "it ends in the middle; is the file cut short?"
_LONGEST_WORD = 16  # "-Infinity" and \u escapes of a pair may be cut by the end of the window.


class _Text:
    """A window on the text: what was read of it and not yet used."""

    def __init__(self, blocks: Iterator[str], source: str) -> None:
        self.source = source
        self.row = 0  # That is being read; 0 outside of the list.
        self.hint = ""
        self.window, self.at = "", 0
        self._blocks = blocks
        self._lines, self._columns = 0, 0  # Before the window, and in its first line before it.

    def next(self) -> str:
        """The next character that is no space, "" at the end. It is not used up."""
        while True:
            match = _SPACE.match(self.window, self.at)
            assert match is not None
            self.at = match.end()
            if self.at < len(self.window):
                return self.window[self.at]
            if not self._more():
                return ""

    def value(self) -> Any:
        """The value that begins at the next character."""
        if not self.next():
            raise self._not_json(self.at, _CUT)
        while True:
            try:
                value, end = DECODER.raw_decode(self.window, self.at)
            except json.JSONDecodeError as error:
                if not (self._may_go_on(error) and self._more()):
                    cut = f"; {_CUT}" if is_cut(error, self.window) else ""
                    raise self._not_json(error.pos, f"{problem(error)}{cut}") from None
            except BROKEN as error:
                raise self._refused(problem(error)) from None
            else:
                # A number at the end of the window may go on: 1.5 was cut to 1.
                if end < len(self.window) - _LONGEST_WORD or not self._more():
                    self.at = end
                    return value

    def skip(self, wanted: str, otherwise: str = "") -> str:
        """Use up one of the wanted characters and return it."""
        found = self.next()
        if not found:
            raise self._not_json(self.at, _CUT)
        if found not in wanted:
            raise self._not_json(self.at, f"not JSON: {otherwise or f'Expecting {wanted!r}'}")
        self.at += 1
        return found

    def end(self) -> None:
        if self.next():
            raise self._not_json(self.at, "not JSON: Extra data")

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        """Whether the text is broken only by the end of the window."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self.window) - _LONGEST_WORD

    def _more(self) -> bool:
        """Move what is left to the front of the window and read at least as much again; False at the end."""
        left = len(self.window) - self.at
        if left > LARGEST_ROW:
            raise too_long(self.source, self._place(self.at)[0] + 1)
        blocks: list[str] = []
        wanted = max(BLOCK, left)
        while wanted > 0 and (block := next(self._blocks, "")):
            wanted -= len(block)
            blocks.append(block)
        if blocks:  # Else all stays, so that an error's position in the window does.
            self._lines, self._columns = self._place(self.at)
            self.window, self.at = "".join([self.window[self.at :], *blocks]), 0
        return bool(blocks)

    def _place(self, position: int) -> tuple[int, int]:
        """(lines before, columns before) a position in the window."""
        newlines = self.window.count("\n", 0, position)
        if not newlines:
            return self._lines, self._columns + position
        return self._lines + newlines, position - self.window.rindex("\n", 0, position) - 1

    def _not_json(self, position: int, what: str) -> UserError:
        line, column = self._place(position)
        return UserError(
            f"{self.source}, line {line + 1}, column {column + 1}: {what}{self._row()}{self.hint}"
        )

    def _refused(self, what: str) -> UserError:
        return UserError(f"{self.source}, line {self._place(self.at)[0] + 1}: {what}{self._row()}")

    def _row(self) -> str:
        return f" (row {self.row})" if self.row else ""


def read_json(
    stream: io.BufferedReader, source: str, columns: Collection[str] | None
) -> Iterator[tuple[str, Any]]:
    """(where, value) of each item of the list."""
    del columns
    text = _Text(text_blocks(stream, source), source)
    first = text.next()
    if first == "[":
        yield from _rows(text)
        text.end()
    elif first == "{" and _are_lines(text):
        yield from _lines(text)
    elif first:
        text.hint = " (one object a line? then name the file .jsonl)"
        yield from _only_list(text)


def _rows(text: _Text) -> Iterator[tuple[str, Any]]:
    text.skip("[")
    if text.next() == "]":
        text.skip("]")
        return
    row = 0
    while True:
        row += 1
        text.row = row
        yield f"{text.source}, row {row}", text.value()
        if text.skip(",]", "Expecting ',' delimiter") == "]":
            text.row = 0
            return


def _only_list(text: _Text) -> Iterator[tuple[str, Any]]:
    """The rows of the one list in an object. A second list can be told only when it comes."""
    if text.next() != "{":
        found = shown(text.value())
        text.end()
        raise _no_list(text, found)
    lists = 0
    for _ in _keys(text):
        if text.next() != "[":
            text.value()
            continue
        lists += 1
        for row in _rows(text):
            if lists == 1:
                yield row
    text.end()
    if lists != 1:
        raise _no_list(text, f"an object with {lists} lists")


def _no_list(text: _Text, found: str) -> UserError:
    return UserError(
        f"{text.source}: found {found}; expected a list of rows, or an object that holds one list"
        ' (of pandas: orient="records")'
    )


def _keys(text: _Text) -> Iterator[str]:
    """The keys of the object. Whoever asks for them uses up the value of each."""
    text.skip("{")
    if text.next() == "}":
        text.skip("}")
        return
    while True:
        if text.next() != '"':
            text.skip('"', "Expecting property name enclosed in double quotes")
        key = text.value()
        text.skip(":", "Expecting ':' delimiter")
        yield key
        if text.skip(",}", "Expecting ',' delimiter") == "}":
            return


def _are_lines(text: _Text) -> bool:
    """Whether the first line is a whole object, and not the last: pandas and `datasets` write .json so."""
    end = text.window.find("\n", text.at)
    if end < 0:
        return False
    try:
        DECODER.decode(text.window[text.at : end])
    except BROKEN:
        return False  # An object over several lines.
    match = _SPACE.match(text.window, end)
    return match is not None and match.end() < len(text.window)


def _lines(text: _Text) -> Iterator[tuple[str, Any]]:
    while text.next():
        text.row += 1
        yield f"{text.source}, row {text.row}", text.value()
