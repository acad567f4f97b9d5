"""What clients of OpenAI's Responses and of Anthropic's Messages keep, turned into chat messages.

Responses: https://platform.openai.com/docs/api-reference/responses/object (items of `output`).
Messages: https://docs.anthropic.com/en/api/messages (blocks of `content`).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.rows import Message
from kto_tui.data.wording import shown

REASONING = "reasoning_content"  # The key under which most chat templates look for it.
_KEYS = {
    "message": frozenset(("content",)),
    "reasoning": frozenset(("summary", "content", "encrypted_content")),
    "function_call": frozenset(("name",)),
    "function_call_output": frozenset(("output",)),
}
_NONE: frozenset[str] = frozenset()
_BLOCKS = ("tool_result", "thinking", "tool_use")


def is_item(item: Any) -> bool:
    """Whether it is an item of the Responses that no chat message looks like."""
    return _kind(item) is not None


def without_items(messages: list[Any], where: Callable[[int], Callable[[], str]]) -> list[Any]:
    """The list with each item as a chat message; reasoning goes to the message that follows it.

    `where` gives what names the place of an item by its number. Raises UserError for reasoning at the end.
    """
    found: list[Any] = []
    thought, calling = "", False
    for number, item in enumerate(messages, 1):
        kind = _kind(item)
        if kind == "reasoning":
            thought = "\n\n".join(filter(None, (thought, _reasoning(item, where(number)()))))
            continue
        message = item if kind is None else _message(kind, item)
        if kind == "function_call" and calling and not thought:
            # Of one response: chat templates take all its calls beside its text.
            found[-1].setdefault("tool_calls", []).extend(message["tool_calls"])
            continue
        calling = kind in ("message", "function_call")
        if not thought:
            found.append(message)
        elif isinstance(message, Mapping) and message.get("role") == "assistant":
            found.append({**message, REASONING: thought})
        else:
            raise UserError(f"{where(number)()}: found no answer after the reasoning; expected the answer")
        thought = ""
    if thought:
        raise UserError(f"{where(len(messages))()}: found no answer after the reasoning; expected the answer")
    return found


def is_blocks(content: list[Any]) -> bool:
    """Whether a content has blocks of Anthropic's that are more than text."""
    return any(isinstance(block, Mapping) and block.get("type") in _BLOCKS for block in content)


def read_blocks(role: str, content: list[Any], where: Callable[[], str]) -> Iterator[Message]:
    """The results of tools, each a message of its own, and then the message without those blocks.

    Its content is what is left of the list. Raises UserError for thoughts or calls that no model had.
    """
    results, thoughts, calls = (list(_of_kind(content, kind)) for kind in _BLOCKS)
    for result in results:
        said = result.get("content")
        mark = result.get("tool_use_id")
        yield {"role": "tool", "content": "" if said is None else said, "tool_call_id": mark}
    rest = [block for block in content if block not in (*results, *thoughts, *calls)]
    if (thoughts or calls) and role != "assistant":
        kind = (thoughts or calls)[0]["type"]
        raise UserError(f"{where()}: a message of role {shown(role)} holds {shown(kind)}; expected text")
    if not (rest or thoughts or calls):
        return
    message: Message = {"role": role, "content": rest if rest or not calls else None}
    if calls:
        message["tool_calls"] = [
            {"id": call.get("id"), "name": call.get("name"), "arguments": call.get("input")} for call in calls
        ]
    if thoughts:
        message[REASONING] = "\n\n".join(_thought(block, where()) for block in thoughts)
    yield message


def _of_kind(content: list[Any], kind: str) -> Iterator[Mapping[str, Any]]:
    return (block for block in content if isinstance(block, Mapping) and block.get("type") == kind)


def _kind(item: Any) -> str | None:
    """The kind of an item; None for chat messages, which have a role and no kind of their own."""
    if not isinstance(item, Mapping) or "role" in item or "from" in item:
        return None
    kind = item.get("type")
    # What is told by its type alone, as LangChain's messages are, has other keys.
    return kind if isinstance(kind, str) and not _KEYS.get(kind, _NONE).isdisjoint(item) else None


def _message(kind: str, item: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "message":
        return {"role": "assistant", "content": item.get("content")}
    if kind == "function_call_output":
        return {"role": "tool", "content": item.get("output"), "tool_call_id": item.get("call_id")}
    call = {"id": item.get("call_id"), "name": item["name"], "arguments": item.get("arguments")}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _reasoning(item: Mapping[str, Any], where: str) -> str:
    """What was thought, or its summary; nothing where only the encrypted form was kept."""
    parts = item.get("content") or item.get("summary") or []
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in _list(parts)]
    return "\n\n".join(_text(text, "the reasoning", where) for text in texts)


def _thought(block: Mapping[str, Any], where: str) -> str:
    return _text(block.get("thinking"), "thinking", where)


def _text(value: Any, part: str, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: {part} is {shown(value)}; expected text")
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
