"""Conversations, as OpenAI, sharegpt, LangChain and their kin write them, as lists of role and content."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Record
from kto_tui.data.formats.checks import require_assistant, require_encodable, require_text
from kto_tui.data.formats.names import HISTORIES, MARKS, SPOKEN, SYSTEMS
from kto_tui.data.formats.tools import parsed, read_calls
from kto_tui.data.rows import Message
from kto_tui.data.wording import listed, shown

_ROLES = {
    **dict.fromkeys(("user", "human", "HumanMessage"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "ai", "bot", "model"), "assistant"),
    "AIMessage": "assistant",
    **dict.fromkeys(("tool", "observation", "tool_response", "function", "function_response"), "tool"),
    **dict.fromkeys(("system", "SystemMessage"), "system"),
    "developer": "developer",
}
_CALLS = ("function_call", "tool_call")
_KEYS = (("role", "content"), ("from", "value"), ("type", "content"))
_KEY = "'(?:role|from|content|value)'"
_PYTHON = re.compile(rf"\s*(?:array\(\s*)?\[\s*\{{\s*{_KEY}\s*:.*,\s*{_KEY}\s*:", re.DOTALL)


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


def _is_message(item: Any) -> bool:
    if not isinstance(item, Mapping):
        return False
    speaker = item.get("role", item.get("from"))
    if not isinstance(speaker, str) or speaker not in (*_ROLES, *_CALLS):
        return False
    return not {"content", "tool_calls"}.isdisjoint(item) if "role" in item else "value" in item


def read_messages(value: Any, column: str, where: str, wanted: str = "a list of messages") -> list[Message]:
    """The messages of a column; JSON text is taken as what it says. Raises UserError."""
    if not isinstance(value, list):
        value = _transposed(parsed(from_text(value, column, where)))
    if not isinstance(value, list) or not value:
        raise UserError(f'{where}: "{column}" is {shown(value)}; expected {wanted}')
    messages: list[Message] = []
    for number, item in enumerate(value, 1):
        if _is_plain(item):
            messages.append(item)
        elif (message := _sharegpt(item)) is not None:
            messages.append(message)
        else:
            messages += _read(item, lambda number=number: f'{where}, message {number} of "{column}"')
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


def text_or_messages(value: Any, column: str, said: Callable[[str], Message], where: str) -> list[Message]:
    """Messages, also those in JSON text; other text becomes the one message of `said`."""
    value = from_text(value, column, where)
    if isinstance(value, str):
        messages = [said(value)]
    else:
        messages = read_messages(value, column, where, "text, or a list of messages")
    require_text(messages, f'"{column}"', where)
    return messages


def with_system(messages: list[Message], record: Record, where: str) -> list[Message]:
    """The system prompt in a column of the record put before; one among the messages wins."""
    name = next((name for name in SYSTEMS if record.get(name) not in (None, "")), None)
    if name is None:
        return messages
    system = record[name]
    if not isinstance(system, str):
        raise UserError(f'{where}: "{name}" is {shown(system)}; expected text')
    if system.isspace() or messages[0]["role"] == "system":
        return messages
    message = {"role": "system", "content": system}
    require_text([message], f'"{name}"', where)
    return [message, *messages]


def turns_before(record: Record, where: str) -> list[Message]:
    """What was said earlier, in a column of its own: messages, or pairs of question and answer."""
    name = next((name for name in HISTORIES if record.get(name) not in (None, "", [])), None)
    if name is None:
        return []
    turns = parsed(from_text(record[name], name, where))
    if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
        return read_messages(turns, name, where)
    messages: list[Message] = []
    for turn in turns if isinstance(turns, list) else [turns]:
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(said, str) for said in turn):
            raise UserError(
                f'{where}: "{name}" holds {shown(turn)}; expected pairs of text, question and answer'
            )
        messages += [user(turn[0]), assistant(turn[1])]
    if messages:
        require_text(messages, f'"{name}"', where)
    return messages


def _is_plain(item: Any) -> bool:
    """Whether it is what templates take already, as nearly all messages are."""
    return (
        type(item) is dict
        and len(item) == 2
        and type(item.get("content")) is str
        and item.get("role") in ("user", "assistant", "system")
    )


def _sharegpt(item: Any) -> Message | None:
    """The same for what nearly all messages of sharegpt files are."""
    if type(item) is dict and len(item) == 2 and type(content := item.get("value")) is str:
        role = item.get("from")
        if type(role) is str and role not in _CALLS and (known := _ROLES.get(role)):
            return {"role": known, "content": content}
    return None


def _transposed(value: Any) -> Any:
    """{"role": [...], "content": [...]}, as `datasets` gives a sequence of objects, turned into messages."""
    if not isinstance(value, Mapping) or not value or not all(isinstance(v, list) for v in value.values()):
        return value
    return [dict(zip(value, items, strict=False)) for items in zip(*value.values(), strict=False)]


def _read(item: Any, where: Any) -> list[Message]:
    if not isinstance(item, Mapping):
        raise UserError(f"{where()}: found {shown(item)}; expected an object with role and content")
    if isinstance(item.get("kwargs"), Mapping) and isinstance(item.get("id"), list) and item["id"]:
        item = {**item["kwargs"], "type": item["id"][-1]}  # LangChain's own way of saving a message.
    if not any(role in item for role, _ in _KEYS) and "human" in item and "assistant" in item:
        return list(_turn(item, where()))
    role_key, content_key = next((keys for keys in _KEYS if keys[0] in item), _KEYS[0])
    for key in (role_key, content_key):
        if key not in item and not (key == content_key and _calls(item)):
            raise UserError(
                f"{where()}: no {key}; found {listed(item)}; expected {role_key} and {content_key}"
            )
    role = item[role_key]
    if not isinstance(role, str):
        raise UserError(f"{where()}: {role_key} is {shown(role)}; expected text")
    if role not in _ROLES:
        require_encodable(role, role_key, where())
    content = item.get(content_key)
    if role in _CALLS:
        return [{**assistant(""), "tool_calls": read_calls(content, where())}]
    if role not in _ROLES and role_key != "role":
        raise UserError(f"{where()}: {role_key} is {shown(role)}; expected one of {', '.join(_ROLES)}")
    return [_message(item, _ROLES.get(role, role), content, content_key, where)]


def _turn(item: Mapping[str, Any], where: str) -> Iterator[Message]:
    """A question and its answer in one object, as ms-swift's ShareGPT has them."""
    for key, role in (("human", "user"), ("assistant", "assistant")):
        if not isinstance(item[key], str):
            raise UserError(f"{where}: {key} is {shown(item[key])}; expected text")
        yield {"role": role, "content": item[key]}


def _message(item: Mapping[str, Any], role: str, content: Any, key: str, where: Any) -> Message:
    message: Message = {"role": role, "content": ""}
    if calls := _calls(item):
        message["tool_calls"] = read_calls(calls, where())
    if content is not None or not (calls or any(isinstance(item.get(name), str) for name in SPOKEN)):
        message["content"] = _content(content, key, where)
    for name in (*SPOKEN, *MARKS):
        if isinstance(item.get(name), str) and item[name]:
            message[name] = item[name]
    marks = [message[name] for name in MARKS if name in message]
    if role == "tool" or marks:
        part = "the answer of a tool" if role == "tool" else "what stands beside the content"
        require_encodable([message["content"], *marks], part, where())
    return message


def _calls(item: Mapping[str, Any]) -> Any:
    return item.get("tool_calls") or item.get("function_call")


def _content(content: Any, key: str, where: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise UserError(f"{where()}: {key} is {shown(content)}; expected text")
    return "".join(_part(part, where()) for part in content)


def _part(part: Any, where: str) -> str:
    """The text of one part of a content that is a list of them."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        if isinstance(part.get("text"), str):
            return str(part["text"])
        kind = part.get("type")
        raise UserError(f"{where}: content holds a part of type {shown(kind)}; only text is trained on")
    raise UserError(f"{where}: content holds {shown(part)}; expected text, or a list of text parts")
