"""The functions that a conversation may call, and the calls in it, as chat templates take them."""

from collections.abc import Mapping
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Record, is_filled, parsed
from kto_tui.data.formats.checks import require_encodable
from kto_tui.data.formats.names import FUNCTIONS
from kto_tui.data.wording import shown

Tool = dict[str, Any]
_WANTED = "a list of functions (JSON schemas), or that list as JSON text"


def read_tools(record: Record, where: str) -> list[Tool] | None:
    """The "tools" of a record, or OpenAI's older "functions": each {"type": "function", "function": {...}}.

    None for none. Raises UserError for tools that are none, and where both are there and differ.
    """
    tools = _tools_in(record.get("tools"), where)
    if FUNCTIONS not in record or not are_tools(record[FUNCTIONS]):
        return tools
    functions = _tools_in(record[FUNCTIONS], where)
    if tools and tools != functions:
        raise UserError(f'{where}: "tools" and "{FUNCTIONS}" are different; leave one out')
    return functions


def are_tools(value: Any) -> bool:
    """Whether it is functions, and not something else under their name."""
    found = parsed(value)
    return isinstance(found, list) and bool(found) and all(map(_is_tool, map(parsed, found)))


def _is_tool(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(_function(item).get("name"), str)


def _tools_in(value: Any, where: str) -> list[Tool] | None:
    value = parsed(value)
    if not value or not is_filled(value):
        return None
    found = [parsed(item) for item in (value if isinstance(value, list) else [value])]
    for item in found:
        if not isinstance(item, Mapping):
            raise UserError(f'{where}: "tools" holds {shown(item)}; expected {_WANTED}')
    require_encodable(found, '"tools"', where)
    return [_tool(tool) for tool in found]


def _tool(item: Mapping[str, Any]) -> Tool:
    """LLaMA-Factory leaves out the wrapping that templates look into; OpenAI's Responses write it flat."""
    if "function" in item or "name" not in item:
        return dict(item)
    return {"type": "function", "function": {name: part for name, part in item.items() if name != "type"}}


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
