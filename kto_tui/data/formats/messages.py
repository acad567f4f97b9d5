"""Conversations in the columns of a record: lists of messages, their JSON text, or one text."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Record
from kto_tui.data.formats.blocks import is_item, without_items
from kto_tui.data.formats.checks import require_assistant, require_text
from kto_tui.data.formats.names import HISTORIES, SYSTEMS
from kto_tui.data.formats.one_message import CALLS, ROLES, is_plain, read_one, sharegpt
from kto_tui.data.formats.tools import parsed
from kto_tui.data.rows import Message
from kto_tui.data.wording import shown

_KEY = "'(?:role|from|content|value)'"
_PYTHON = re.compile(rf"\s*(?:array\(\s*)?\[\s*\{{\s*{_KEY}\s*:.*,\s*{_KEY}\s*:", re.DOTALL)
_EMPTY = ("", "[]", "null")


def user(content: str) -> Message:
    """A message of the user."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """A message of the model."""
    return {"role": "assistant", "content": content}


def from_text(value: Any, column: str, where: str) -> Any:
    """Messages that were saved as JSON text, as tables hold them; anything else as it is.

    Raises UserError for messages as Python prints them, which pandas writes into a .csv.
    """
    found = in_text(value)
    if isinstance(found, str) and _PYTHON.match(found):
        raise UserError(
            f'{where}: "{column}" holds messages as Python prints them; expected JSON'
            " (save the data set as .jsonl or .parquet)"
        )
    return found


def in_text(value: Any) -> Any:
    """The same, without a word on Python's notation."""
    found = parsed(value)
    # One object alone may be what was asked for: a JSON answer with a role, or with from and value.
    if found is value or not isinstance(found, list):
        return value
    return found if found and all(_is_message(item) for item in found) else value


def looks_like_messages(text: str) -> bool:
    """Whether a text is messages as JSON or as Python writes them."""
    return in_text(text) is not text or _PYTHON.match(text) is not None


def _is_message(item: Any) -> bool:
    if not isinstance(item, Mapping):
        return False
    speaker = item.get("role", item.get("from"))
    if speaker is None:
        return is_item(item)
    if not isinstance(speaker, str) or speaker not in (*ROLES, *CALLS):
        return False
    return not {"content", "tool_calls"}.isdisjoint(item) if "role" in item else "value" in item


def read_messages(value: Any, column: str, where: str, wanted: str = "a list of messages") -> list[Message]:
    """The messages of a column; JSON text is taken as what it says. Raises UserError."""
    if not isinstance(value, list):
        value = _listed(parsed(from_text(value, column, where)))
    if not isinstance(value, list) or not value:
        raise UserError(f'{where}: "{column}" is {shown(value)}; expected {wanted}')

    def place(number: int) -> Callable[[], str]:
        return lambda: f'{where}, message {number} of "{column}"'

    messages: list[Message] = []
    for number, item in enumerate(value, 1):
        if is_plain(item):
            messages.append(item)
        elif (message := sharegpt(item)) is not None:
            messages.append(message)
        elif is_item(item):
            return read_messages(without_items(value, place), column, where, wanted)
        else:
            messages += read_one(item, place(number))
    return messages


def split_answer(messages: list[Message], column: str, where: str) -> tuple[list[Message], list[Message]]:
    """What was said before, and the last message: the rated answer."""
    require_assistant(messages, column, where)
    if len(messages) == 1:
        raise UserError(f'{where}: "{column}" holds the answer alone; expected its prompt before it')
    prompt, completion = messages[:-1], messages[-1:]
    require_text(prompt, f'the prompt in "{column}"', where)
    require_text(completion, f'the answer in "{column}"', where)
    return prompt, completion


def text_or_messages(
    value: Any, column: str, said: Callable[[str], Message], where: str, *, literal: bool = False
) -> list[Message]:
    """Messages, also those in JSON text; other text becomes the one message of `said`.

    All text, also that of JSON, is what was said if it is `literal`: see looking.literal_text.
    """
    if not (literal and isinstance(value, str)):
        value = from_text(value, column, where)
    if isinstance(value, str):
        messages = [said(value)]
    else:
        messages = read_messages(value, column, where, "text, or a list of messages")
    require_text(messages, f'"{column}"', where)
    return messages


def answer_alone(
    prompt: list[Message], answer: list[Message], column: str, where: str
) -> tuple[list[Message], list[Message]]:
    """Prompt and answer, where the answer's column may hold the whole conversation.

    A system prompt may stand in either. Raises UserError if that is of another prompt, or no answer.
    """
    require_assistant(answer, column, where)
    role = answer[0]["role"]
    if role not in ("user", "system"):
        return prompt, answer
    (outer, asked), (inner, whole) = split_system(prompt), split_system(answer)
    if asked and (not outer or not inner or outer == inner):
        begun = [*(outer or inner), *asked]
        if whole[: len(asked)] == asked:
            return begun, whole[len(asked) :]
        if whole[:1] == asked[-1:]:
            return begun, whole[1:]
    raise UserError(
        f'{where}: "{column}" begins with a message of role {shown(role)} that is not the prompt;'
        " expected the answer alone, or the conversation from the prompt on"
    )


def split_system(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """The system prompt that messages begin with, if there is one, and the rest."""
    count = int(bool(messages) and messages[0]["role"] == "system")
    return messages[:count], messages[count:]


def with_system(messages: list[Message], record: Record, where: str) -> list[Message]:
    """The system prompt in a column of the record put before; one among the messages wins.

    Raises UserError if two columns hold different ones.
    """
    name = only_filled(record, SYSTEMS, where)
    if name is None:
        return messages
    system = _system(record[name], name, where)
    if messages[0]["role"] == "system":
        return messages
    message = {"role": "system", "content": system}
    require_text([message], f'"{name}"', where)
    return [message, *messages]


def is_filled(value: Any) -> bool:
    """Whether something stands in a cell; tables write out an empty list as text."""
    return value.strip() not in _EMPTY if isinstance(value, str) else value is not None and value != []


def only_filled(record: Record, names: tuple[str, ...], where: str) -> str | None:
    """The first of the columns that holds something. Raises UserError if a second one holds another thing."""
    filled = [name for name in names if name in record and is_filled(record[name])]
    for other in filled[1:]:
        if record[other] != record[filled[0]]:
            raise UserError(
                f'{where}: "{filled[0]}" and "{other}" hold different things, and one of them is read;'
                " leave one empty, or write them as one"
            )
    return filled[0] if filled else None


def _system(value: Any, name: str, where: str) -> str:
    """Text, or Anthropic's list of text blocks, each a paragraph."""
    blocks = parsed(value)
    if isinstance(blocks, list) and blocks and all(map(_is_text_block, blocks)):
        return "\n\n".join(block["text"] for block in blocks)
    if not isinstance(value, str):
        raise UserError(f'{where}: "{name}" is {shown(value)}; expected text')
    return value


def _is_text_block(block: Any) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "text" and isinstance(block.get("text"), str)


def turns_before(record: Record, where: str) -> list[Message]:
    """What was said earlier, in a column of its own: messages, or pairs of question and answer."""
    name = only_filled(record, HISTORIES, where)
    if name is None:
        return []
    turns = parsed(from_text(record[name], name, where))
    if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
        return read_messages(turns, name, where)
    messages: list[Message] = []
    for turn in turns if isinstance(turns, list) else [turns]:
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(said, str) for said in turn):
            raise UserError(
                f'{where}: "{name}" holds {shown(turn)}; expected pairs of text, question and answer,'
                " or a list of messages"
            )
        messages += [user(turn[0]), assistant(turn[1])]
    if messages:
        require_text(messages, f'"{name}"', where)
    return messages


def _listed(value: Any) -> Any:
    """One message alone, as LLaMA-Factory has answers, or messages by column, as a list of messages.

    By column: {"role": [...], "content": [...]}, as `datasets` gives a sequence of objects.
    """
    if not isinstance(value, Mapping) or not value:
        return value
    if isinstance(value.get("role", value.get("from")), str):
        return [value]
    if not all(isinstance(items, list) for items in value.values()):
        return value
    if len({len(items) for items in value.values()}) > 1:
        return value
    return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
