"""Bytes to text, in blocks and lines of bounded size. Errors name the line."""

import codecs
import io
from collections.abc import Iterator

from kto_tui.core.errors import UserError
from kto_tui.data.files.limits import BLOCK, LARGEST_ROW, MIB

_MARKS = (  # The longer ones first: UTF-16's mark begins UTF-32's.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def text_blocks(stream: io.BufferedReader, source: str) -> Iterator[str]:
    """The text without its byte order mark, about 256 KiB at a time; UTF-8 where no mark says otherwise."""
    encoding = _encoding(stream)
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = 0
    while True:
        data = stream.read(BLOCK)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            line = lines + error.object[: error.start].decode(encoding, "ignore").count("\n") + 1
            name = encoding[:6].upper().rstrip("-")
            raise UserError(f"{source}, line {line}: not {name}; save the file as UTF-8") from None
        if text:
            yield text
        if not data:
            return
        lines += text.count("\n")


def _encoding(stream: io.BufferedReader) -> str:
    """The encoding that the mark names. The mark is read away."""
    head = stream.peek(4)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            stream.read(len(mark))
            return encoding
    return "utf-8"


def too_long(source: str, line: int, what: str = "a row") -> UserError:
    """The refusal of a row that would fill the memory."""
    return UserError(f"{source}, line {line}: {what} of more than {LARGEST_ROW // MIB} MiB; cut or remove it")


def numbered_lines(blocks: Iterator[str], source: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its newline). Blocks of blank lines are passed over."""
    number, begun, length = 1, list[str](), 0
    for block in blocks:
        if not begun and block.isspace():
            number += block.count("\n")
            continue
        first, *others = block.split("\n")
        begun.append(first)
        length += len(first)
        if length > LARGEST_ROW:
            raise too_long(source, number)
        if others:
            yield number, "".join(begun)
            for line in others[:-1]:
                number += 1
                yield number, line
            number += 1
            begun, length = ([others[-1]], len(others[-1])) if others[-1] else ([], 0)
    if begun:
        yield number, "".join(begun)


def table_lines(blocks: Iterator[str]) -> Iterator[str]:
    r"""Lines as the csv module wants them: with their end, which may be \n, \r\n or \r."""
    begun: list[str] = []
    for block in blocks:
        begun.append(block)
        # A line feed may follow the carriage return at the end of the block.
        if len(block) - block.endswith("\r") > 0 and ("\n" in block or "\r" in block[:-1]):
            *whole, last = io.StringIO("".join(begun), newline="")
            begun = [last]
            if last.endswith("\n"):
                begun = []
                whole.append(last)
            yield from whole
    yield from io.StringIO("".join(begun), newline="")
