"""Conversations, as OpenAI, sharegpt, LangChain and their kin write them, as lists of role and content."""

from collections.abc import Iterator, Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.checks import require_assistant, require_encodable, require_text
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
_KEPT = ("reasoning_content", "thinking")
_OF_TOOLS = ("name", "tool_call_id")


def user(content: str) -> Message:
    """A message of the user."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """A message of the model."""
    return {"role": "assistant", "content": content}


def read_messages(value: Any, column: str, where: str, wanted: str = "a list of messages") -> list[Message]:
    """The messages of a column; JSON text is taken as what it says. Raises UserError."""
    if not isinstance(value, list):
        value = _transposed(parsed(value))
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


def with_system(messages: list[Message], system: Any, where: str) -> list[Message]:
    """The system prompt of a column of its own put before; one among the messages wins."""
    if system is None or system == "":
        return messages
    if not isinstance(system, str):
        raise UserError(f'{where}: "system" is {shown(system)}; expected text')
    if system.isspace() or messages[0]["role"] == "system":
        return messages
    message = {"role": "system", "content": system}
    require_text([message], '"system"', where)
    return [message, *messages]


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
    if content is not None or not (calls or any(isinstance(item.get(name), str) for name in _KEPT)):
        message["content"] = _content(content, key, where)
    for name in _KEPT:
        if isinstance(item.get(name), str) and item[name]:
            message[name] = item[name]
    if role == "tool":
        message |= {name: item[name] for name in _OF_TOOLS if isinstance(item.get(name), str)}
        require_encodable(message, "the answer of a tool", where())
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
