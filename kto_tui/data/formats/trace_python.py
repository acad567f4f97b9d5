"""Objects as Python prints them, which pandas writes into a .csv."""

import re
from collections.abc import Iterable
from typing import Any

from kto_tui.core.errors import UserError

# What was sent to a model, or came back: no text is so by chance.
_SENT = re.compile("'(?:role|messages|choices|generations)': ")
_SAID = re.compile(r"""content=(?:'.*'|".*") (?:additional_kwargs|response_metadata)=\{""", re.DOTALL)
# Any object, or list of them, or of LangChain's messages: an answer may be that, but hardly all of them.
_OBJECT = re.compile(
    r"(?:\{|\[\{)'[^'\n]{1,100}': .*(?:\}|\}\])|\[?(?:Human|AI|System|Tool)Message\(content=.*\)\]?",
    re.DOTALL,
)


def refuse_python(value: Any, column: str, where: str) -> None:
    """Refuse what a model was sent, or gave back, as Python prints it."""
    if isinstance(value, str) and _is_certain(value.strip()):
        raise _refusal(column, where, "")


def refuse_python_objects(values: Iterable[Any], column: str, option: str, source: str) -> None:
    """Refuse a column whose first values are all objects as Python prints them."""
    cells = [value for value in values if value not in (None, "")]
    if cells and all(map(is_python, cells)):
        raise _refusal(column, source, f", or take the text as it stands with {option} {column}")


def is_python(value: Any) -> bool:
    """Whether it is text that holds an object as Python prints it."""
    return isinstance(value, str) and _is_object(value.strip())


def _is_certain(text: str) -> bool:
    if text.startswith("{'"):
        return text.endswith("}") and _SENT.search(text) is not None
    return text.startswith("content=") and _SAID.match(text) is not None


def _is_object(text: str) -> bool:
    return _is_certain(text) or _OBJECT.fullmatch(text) is not None


def _refusal(column: str, where: str, more: str) -> UserError:
    return UserError(
        f'{where}: "{column}" holds an object as Python prints it; expected JSON'
        f" (save the data set as .jsonl or .parquet{more})"
    )
