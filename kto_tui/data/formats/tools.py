"""The functions that a conversation may call, and the calls in it, as chat templates take them."""

import json
from collections.abc import Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Record, is_filled
from kto_tui.data.formats.checks import require_encodable
from kto_tui.data.wording import shown

Tool = dict[str, Any]
_WANTED = "a list of functions (JSON schemas), or that list as JSON text"


def parsed(text: Any) -> Any:
    """The value of JSON text that is an object or a list; anything else as it is."""
    if not isinstance(text, str) or text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def read_tools(record: Record, where: str) -> list[Tool] | None:
    """The "tools" of a record: each {"type": "function", "function": {...}}; None for none."""
    value = parsed(record.get("tools"))
    if not value or not is_filled(value):
        return None
    found = [parsed(item) for item in (value if isinstance(value, list) else [value])]
    for item in found:
        if not isinstance(item, Mapping):
            raise UserError(f'{where}: "tools" holds {shown(item)}; expected {_WANTED}')
    require_encodable(found, '"tools"', where)
    return [_tool(tool) for tool in found]


def _tool(item: Mapping[str, Any]) -> Tool:
    """LLaMA-Factory leaves out the wrapping that templates look into."""
    return dict(item) if "function" in item or "name" not in item else {"type": "function", "function": item}


def read_calls(value: Any, where: str) -> list[Tool]:
    """Calls as OpenAI writes them, or bare {"name", "arguments"} as sharegpt files do; JSON text or not."""
    found = parsed(value)
    calls = found if isinstance(found, list) else [found]
    for call in calls:
        if not isinstance(call, Mapping) or not isinstance(_function(call).get("name"), str):
            raise UserError(
                f"{where}: a call of a function is {shown(call)}; expected an object with name and arguments"
            )
    require_encodable(calls, "a call of a function", where)
    return [_call(call) for call in calls]


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = call.get("function")
    return inner if isinstance(inner, Mapping) else call


def _call(call: Mapping[str, Any]) -> Tool:
    """Templates take arguments as an object. What the model wrote as broken JSON stays the text it wrote."""
    function = _function(call)
    # LangChain calls them args.
    arguments = parsed(function.get("arguments", function.get("args")))
    whole: Tool = {"type": "function"}
    if isinstance(call.get("id"), str):
        whole["id"] = call["id"]
    whole["function"] = {"name": function["name"], "arguments": {} if arguments is None else arguments}
    return whole
