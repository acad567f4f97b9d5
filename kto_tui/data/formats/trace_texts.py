"""Prompt and answer in what went into an application and what came out of it."""

import re
from collections.abc import Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Record, parsed
from kto_tui.data.formats.names import (
    ANSWERS,
    CHATS,
    HISTORIES,
    PROMPTS,
    SETTINGS,
    SPOKEN,
    SYSTEMS,
)
from kto_tui.data.formats.one_message import ROLES
from kto_tui.data.formats.trace_beside import is_request, within
from kto_tui.data.formats.trace_python import refuse_python
from kto_tui.data.rows import Message
from kto_tui.data.wording import listed, shown

NO_PROMPT = frozenset((*SETTINGS, *SYSTEMS, *HISTORIES))
_USUAL = frozenset((*CHATS, *PROMPTS, "kwargs"))
# Keys by which JSON text is known for what an application sent.
_SENT = frozenset((*CHATS, *PROMPTS, "kwargs", "args", "role"))
_ENVELOPES = ("choices", "message", "generations", "messages")
_TEXTS = ("content", "text", *ANSWERS, "result", "value", "generated_text")
_CALLS = ("tool_calls", "function_call")
_SPEAKERS = ("ai", "human", "system", "tool", "AIMessage", "HumanMessage", "SystemMessage", "ToolMessage")
_BEGINNING = ("system", "developer", "user")
# What Langfuse leaves in place of long texts and of pictures, and Weave in place of its own objects.
_STAND_IN = re.compile(
    r"^\s*<truncated due to size exceeding limit>|@@@langfuseMedia:[^@]*|^\s*weave(?:-trace-internal)?:///\S*$"
)
_MARKS = ("<truncated", "@@@langfuse", "weave")  # In one of these each.
_FOLDS = frozenset(("additional_kwargs", "type"))  # What LangChain's messages have, and others need not.
_DEEPEST = 8


def asked(value: Any, holder: Record, column: str, where: str) -> tuple[Any, Record]:
    """Text or messages in what went in, and what belongs to them of the objects around them."""
    refuse_python(value, column, where)
    path, value = column, opened(value)
    for _ in range(_DEEPEST):
        if not isinstance(value, dict):
            break
        if "role" in value and "content" in value:
            return [_unfolded(value)], holder
        name = prompt_in(value, path, where)
        holder = within(holder, value, where)
        if name == "args":
            kwargs = value.get("kwargs")
            holder = within(holder, kwargs, where) if isinstance(kwargs, dict) else holder
            value = value["args"][0]
        else:
            value = value[name]
        path, value = f"{path}.{name}", opened(value)
    if not isinstance(value, list):
        return value, holder
    if len(value) == 1 and isinstance(value[0], list) and not _are_pairs(value):
        value = value[0]  # LangChain sends a batch of one.
    if _are_pairs(value):
        return [{"role": role, "content": text} for role, text in value], holder
    return _unfolded(value), holder


def prompt_in(value: Mapping[str, Any], path: str, where: str) -> str:
    """The key of what was asked: the only one that is no setting. Raises UserError if there are more.

    A "user" may be who asked or what was asked: the latter only where nothing else is.
    """
    parts = [
        name
        for name, item in value.items()
        if item and isinstance(item, (str, list, dict)) and name not in NO_PROMPT
    ]
    if len(parts) == 1 and parts[0] in _USUAL:
        return parts[0]
    if is_request(value) and sorted(parts) == ["input", "instructions"]:
        return "input"
    if sorted(parts) == ["args", "kwargs"]:
        # Settings alone go by name where the prompt goes by place.
        named = value["kwargs"].items() if isinstance(value["kwargs"], dict) else [("", "")]
        settings = all(name in NO_PROMPT or isinstance(item, (int, float)) for name, item in named)
        parts = ["args"] if settings else parts
    if isinstance(value.get("user"), str) and value["user"] and _USUAL.isdisjoint(parts):
        parts.append("user")
    if len(parts) == 1 and (
        _is_sole(value, parts[0]) if parts[0] == "args" else _stands_alone(value, parts[0])
    ):
        return parts[0]
    names = listed(value) if value else shown(value)
    part = "args.0" if parts[:1] == ["args"] else "NAME"
    raise UserError(
        f'{where}: "{path}" holds {names}; choose the prompt in it with --prompt-column {path}.{part}'
    )


def _stands_alone(value: Mapping[str, Any], name: str) -> bool:
    """Whether the only text under no usual name is the prompt: nothing of a usual one is there, or empty."""
    if name in _USUAL:
        return True
    usual = any(item is not None for key, item in value.items() if key in _USUAL and key != "kwargs")
    deeper = any(
        isinstance(item, dict) and any(item.get(key) for key in _USUAL)
        for key, item in value.items()
        if key in SETTINGS
    )
    return isinstance(value[name], str) and not usual and not deeper


def said(value: Any, column: str, where: str) -> Any:
    """Text or messages in what came out: of OpenAI, LangChain, or an object with one text.

    Text that is JSON is what the model said, unless it holds what only clients of models return. Raises
    UserError for an object with several texts, or with none of a usual name.
    """
    refuse_python(value, column, where)
    path, value = column, unpacked(value)
    for _ in range(_DEEPEST):
        if isinstance(value, list):
            if _are_parts(value):
                return [{"role": "assistant", "content": value}]
            if len(value) != 1 or not isinstance(value[0], (list, dict)) or _speaks(value[0]):
                _require_one(value, path, where)
                return _unfolded(value)
            path, value = f"{path}.0", value[0]
            continue
        if not isinstance(value, dict):
            return value
        value = _unfolded(value)
        if "role" in value and not {"content", *_CALLS}.isdisjoint(value):
            return [value]
        name = answer_in(value, path, where)
        if name is None or _is_message(value, name):
            return [_by_the_model(value)]
        path, value = f"{path}.{name}", unpacked(value[name])
    return value


def _require_one(value: list[Any], path: str, where: str) -> None:
    path = path.removesuffix(".0")
    if len(value) > 1 and path.endswith((".choices", ".generations")):
        raise UserError(f'{where}: "{path}" holds {len(value)} answers; expected the one that was rated')


def answer_in(value: Mapping[str, Any], path: str, where: str) -> str | None:
    """The key of what was said; None for a message of calls alone. Raises UserError if it cannot be told."""
    if len(value) == 1:
        ((name, text),) = value.items()
        if name in _TEXTS and isinstance(text, str) and text and not text.isspace():
            return name
    texts = [name for name in _TEXTS if isinstance(value.get(name), str) and not value[name].isspace()]
    found = [name for name in (*_ENVELOPES, *texts) if value.get(name)]
    if not found:
        held = [name for name in _TEXTS if value.get(name) and isinstance(value[name], (list, dict))]
        # What OpenAI's responses have under "text" are settings; the list is what was said.
        found = sorted(held, key=lambda name: not isinstance(value[name], list))[:1]
    if len({_words(value[name]) for name in found}) > 1:
        raise UserError(
            f'{where}: "{path}" holds {listed(found)}, each with a text of its own; choose the answer with'
            f" --completion-column {path}.{found[0]}"
        )
    if found:
        return found[0]
    if _is_saved(value) or any(value.get(name) for name in _CALLS):
        return None
    names = listed(value) if value else shown(value)
    raise UserError(
        f'{where}: "{path}" holds {names}; choose the answer in it with --completion-column {path}.NAME'
    )


def in_order(
    prompt: list[Message], output: list[Message], columns: tuple[str, str], where: str
) -> tuple[list[Message], list[Message]]:
    """All that the model saw before it gave the last message of the output, and that message.

    An output may begin with (the end of) the prompt, or hold the whole conversation, also turns that were
    said before the prompt. Raises UserError if it begins with another one.
    """
    *earlier, last = output
    if not earlier:
        return prompt, [last]
    begins = earlier[0]["role"] in _BEGINNING
    # A system prompt is often given beside the messages that an application returns.
    lead = 1 if prompt[0]["role"] == "system" and earlier[0]["role"] != "system" else 0
    plain = prompt[lead:]
    if begins and any(earlier[at : at + len(plain)] == plain for at in range(len(earlier))):
        return prompt[:lead] + earlier, [last]
    for size in range(min(len(prompt), len(earlier)), 0, -1):
        if prompt[-size:] == earlier[:size]:
            return prompt + earlier[size:], [last]
    if begins:
        raise UserError(
            f'{where}: "{columns[1]}" begins with a message of role "{earlier[0]["role"]}" that is not the'
            f' prompt in "{columns[0]}"; if all of that conversation is to be used, say so with'
            f" --prompt-column {columns[1]}"
        )
    return prompt + earlier, [last]


def require_whole(messages: list[Message], column: str, where: str) -> None:
    """Refuse what stands in a trace for a text that is not in it."""
    for message in messages:
        content = message["content"]
        if any(mark in content for mark in _MARKS) and (found := _STAND_IN.search(content)):
            raise UserError(
                f'{where}: "{column}" holds {shown(found[0])} where the export left something out; remove the'
                " row, or export it whole"
            )


def opened(value: Any) -> Any:
    """What JSON text holds, if that is a conversation or what an application sent; other text as it is."""
    found = parsed(value) if isinstance(value, str) else value
    if isinstance(found, dict) and isinstance(value, str):
        return found if not _SENT.isdisjoint(found) else value
    if isinstance(found, list) and isinstance(value, str):
        return found if any(isinstance(item, (dict, list)) for item in found) else value
    return found if isinstance(found, (dict, list)) else value


def _is_sole(value: Mapping[str, Any], name: str) -> bool:
    """Whether a call has that one argument."""
    return isinstance(value[name], list) and len(value[name]) == 1


def unpacked(value: Any) -> Any:
    """What JSON text holds, if a client of a model returned that; other text as it is."""
    found = parsed(value)
    if found is value:
        return value
    first = found
    while isinstance(first, list) and first:
        first = first[0]
    envelope = isinstance(first, dict) and (_is_envelope(first) or _are_parts(found))
    return found if envelope else value


def _is_envelope(value: Mapping[str, Any]) -> bool:
    """Whether it is what clients of models return, and no JSON that a model wrote."""
    if "role" in value and ("content" in value or "tool_calls" in value):
        return True
    if isinstance(value.get("message"), dict):
        return True
    if value.get("object") == "response" and isinstance(value.get("output"), list):
        return True
    if value.get("type") == "message" and isinstance(value.get("content"), list):
        return True
    return any(isinstance(value.get(name), list) for name in ("choices", "generations", "messages"))


def _words(value: Any) -> str | None:
    """What is said by a text, or by the object or list of a client, whose last message it is."""
    for _ in range(2 * _DEEPEST):
        if isinstance(value, list) and value:
            texts = [part["text"] for part in value if _are_parts([part])]
            value = "".join(texts) if texts else value[-1]
        elif isinstance(value, dict) and _is_saved(value):
            value = value["kwargs"]
        elif isinstance(value, dict):
            value = next((value[name] for name in ("content", *_ENVELOPES, *_TEXTS) if value.get(name)), None)
        else:
            break
    return value if isinstance(value, str) else None


def _are_parts(value: Any) -> bool:
    """Whether it is the content of one message, in parts that are text."""
    return isinstance(value, list) and all(
        isinstance(part, dict)
        and part.get("type") in ("text", "output_text")
        and isinstance(part.get("text"), str)
        for part in value
    )


def _are_pairs(value: list[Any]) -> bool:
    """Whether it is messages as LangGraph takes them: ["human", "Hi"]."""
    return all(
        isinstance(item, list)
        and len(item) == 2
        and all(isinstance(part, str) for part in item)
        and item[0] in ROLES
        for item in value
    )


def _speaks(item: Any) -> bool:
    """Whether it is a message, or another item of a conversation; what LangChain generates has a type too."""
    if not isinstance(item, dict):
        return False
    return bool({"role", "from"} & item.keys()) or ("type" in item and not {"text", "message"} & item.keys())


def _is_saved(value: Mapping[str, Any]) -> bool:
    """Whether it is a message in LangChain's own way of saving one."""
    return isinstance(value.get("kwargs"), dict) and isinstance(value.get("id"), list)


def _is_message(value: Mapping[str, Any], answer: str) -> bool:
    """Whether an object without a role is a message: more than the text was said, or it says its type."""
    if answer != "content":
        return False
    return "type" in value or any(value.get(name) for name in (*SPOKEN, *_CALLS)) or _are_parts(value[answer])


def _by_the_model(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object as a message of the model's, unless its type says that somebody else speaks."""
    if _is_saved(value) or value.get("type") in _SPEAKERS:
        return value
    return {**value, "role": "assistant"}


def _unfolded(value: Any) -> Any:
    """LangChain's messages with what they keep in additional_kwargs; what was streamed is of a plain type."""
    if isinstance(value, list):
        return [_unfolded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "kwargs" in value and _is_saved(value):
        names = [str(name).removesuffix("Chunk") for name in value["id"]]
        return {**value, "id": names, "kwargs": _unfolded(value["kwargs"])}
    if _FOLDS.isdisjoint(value):
        return value
    more = value.get("additional_kwargs")
    kept = more if isinstance(more, dict) else {}
    plain = {name: kept[name] for name in (*SPOKEN, *_CALLS) if kept.get(name) and not value.get(name)}
    if str(value.get("type")).endswith("MessageChunk"):
        plain["type"] = value["type"].removesuffix("Chunk")
    return {**value, **plain} if plain else value
