"""One message of a conversation, as OpenAI, sharegpt, LangChain, ms-swift and Anthropic write it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.blocks import is_blocks, read_blocks
from kto_tui.data.formats.checks import require_encodable
from kto_tui.data.formats.names import MARKS, SPOKEN
from kto_tui.data.formats.tools import read_calls
from kto_tui.data.rows import Message
from kto_tui.data.wording import listed, shown

Where = Callable[[], str]  # Places are only written out for what is wrong.

ROLES = {
    **dict.fromkeys(("user", "human", "HumanMessage"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "ai", "bot", "model"), "assistant"),
    "AIMessage": "assistant",
    **dict.fromkeys(("tool", "observation", "tool_response", "function", "function_response"), "tool"),
    **dict.fromkeys(("system", "SystemMessage"), "system"),
    "developer": "developer",
}
CALLS = ("function_call", "tool_call")
_KEYS = (("role", "content"), ("from", "value"), ("type", "content"))


def known_role(role: str) -> str | None:
    """The role that chat templates have for it; None for one of another name."""
    return ROLES.get(role) or ROLES.get(role.lower())


def is_plain(item: Any) -> bool:
    """Whether it is what templates take already, as nearly all messages are."""
    return (
        type(item) is dict
        and len(item) == 2
        and type(item.get("content")) is str
        and item.get("role") in ("user", "assistant", "system")
    )


def sharegpt(item: Any) -> Message | None:
    """The same for what nearly all messages of sharegpt files are."""
    if type(item) is dict and len(item) == 2 and type(content := item.get("value")) is str:
        role = item.get("from")
        if type(role) is str and role not in CALLS and (known := ROLES.get(role)):
            return {"role": known, "content": content}
    return None


def read_one(item: Any, where: Where) -> list[Message]:
    """The message, or the several that one object holds. Raises UserError for what is none."""
    if not isinstance(item, Mapping):
        raise UserError(f"{where()}: found {shown(item)}; expected an object with role and content")
    if isinstance(item.get("kwargs"), Mapping) and isinstance(item.get("id"), list) and item["id"]:
        item = {**item["kwargs"], "type": item["id"][-1]}  # LangChain's own way of saving a message.
    if not any(role in item for role, _ in _KEYS) and "human" in item and "assistant" in item:
        return list(_turn(item, where()))
    role_key, content_key = next((keys for keys in _KEYS if keys[0] in item), _KEYS[0])
    for key in (role_key, content_key):
        if key not in item and not (key == content_key and does_without(item)):
            raise UserError(
                f"{where()}: no {key}; found {listed(item)}; expected {role_key} and {content_key}"
            )
    role = item[role_key]
    if not isinstance(role, str):
        raise UserError(f"{where()}: {role_key} is {shown(role)}; expected text")
    known = known_role(role)
    if known is None:
        require_encodable(role, role_key, where())
    content = item.get(content_key)
    if role in CALLS:
        return [{"role": "assistant", "content": "", "tool_calls": read_calls(content, where())}]
    if known is None and role_key != "role":
        raise UserError(f"{where()}: {role_key} is {shown(role)}; expected one of {', '.join(ROLES)}")
    known = known or role
    if isinstance(content, list) and is_blocks(content):
        parts = read_blocks(known, content, where)
        return [_message(part, part["role"], part["content"], content_key, where) for part in parts]
    return [_message(item, known, content, content_key, where)]


def text_of(content: Any, key: str, where: Where) -> str:
    """The text of a message: as it is, or the parts of a list joined. Raises UserError."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise UserError(f"{where()}: {key} is {shown(content)}; expected text")
    return "".join(_part(part, where()) for part in content)


def _turn(item: Mapping[str, Any], where: str) -> Iterator[Message]:
    """A question and its answer in one object, as ms-swift's ShareGPT has them."""
    for key, role in (("human", "user"), ("assistant", "assistant")):
        if not isinstance(item[key], str):
            raise UserError(f"{where}: {key} is {shown(item[key])}; expected text")
        yield {"role": role, "content": item[key]}


def _message(item: Mapping[str, Any], role: str, content: Any, key: str, where: Where) -> Message:
    message: Message = {"role": role, "content": ""}
    if calls := _calls(item):
        message["tool_calls"] = read_calls(calls, where())
    if not content and isinstance(item.get("refusal"), str):
        content = item["refusal"]  # Said instead of an answer, in OpenAI's messages.
    if content is not None or not does_without(item):
        message["content"] = text_of(content, key, where)
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


def does_without(item: Mapping[str, Any]) -> bool:
    """Whether a message needs no content: it calls tools, or says something in another place."""
    return bool(_calls(item)) or any(isinstance(item.get(name), str) for name in (*SPOKEN, "refusal"))


def _part(part: Any, where: str) -> str:
    """The text of one part of a content that is a list of them."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        for key in ("text", "refusal"):
            if isinstance(part.get(key), str):
                return str(part[key])
        kind = part.get("type")
        raise UserError(f"{where}: content holds a part of type {shown(kind)}; only text is trained on")
    raise UserError(f"{where}: content holds {shown(part)}; expected text, or a list of text parts")
