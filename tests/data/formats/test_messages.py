"""What chat templates know beside role and content, and OpenAI's files."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.reading import assistant, read, refusal, system, user

CALL = {"id": "call_1", "type": "function", "function": {"name": "rain", "arguments": '{"city": "Bonn"}'}}
PARSED = {"type": "function", "id": "call_1", "function": {"name": "rain", "arguments": {"city": "Bonn"}}}
TOOL = {"type": "function", "function": {"name": "rain", "parameters": {"type": "object"}}}


def test_tool_calls(tmp_path: Path) -> None:
    talk = [
        user("Rain in Bonn?"),
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "name": "rain", "content": "yes"},
        assistant("It rains."),
    ]
    _, rows = read(tmp_path, [{"messages": talk, "tools": [TOOL], "label": True}])
    assert rows[0].prompt == [talk[0], {**assistant(""), "tool_calls": [PARSED]}, talk[2]]
    assert rows[0].completion == [assistant("It rains.")]
    assert rows[0].tools == [TOOL]


def test_a_call_is_an_answer(tmp_path: Path) -> None:
    """What the model wrote as broken JSON is what it is rated for."""
    broken = {"type": "function", "function": {"name": "rain", "arguments": '{"city": Bonn'}}
    talk = [user("Rain?"), {"role": "assistant", "tool_calls": [broken]}]
    _, rows = read(tmp_path, [{"messages": talk, "label": False}])
    assert rows[0].completion == [{**assistant(""), "tool_calls": [broken]}]


def test_old_function_calls(tmp_path: Path) -> None:
    call = {"name": "rain", "arguments": "{}"}
    talk = [
        user("Rain?"),
        {"role": "assistant", "content": None, "function_call": call},
        {"role": "function", "name": "rain", "content": "no"},
        assistant("No."),
    ]
    _, rows = read(tmp_path, [{"messages": talk, "label": 1}])
    assert rows[0].prompt[1:] == [
        {
            **assistant(""),
            "tool_calls": [{"type": "function", "function": {"name": "rain", "arguments": {}}}],
        },
        {"role": "tool", "name": "rain", "content": "no"},
    ]


def test_parts_of_text_are_joined(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "this?"}]
    talk = [{"role": "user", "content": parts}, assistant("A fish.")]
    _, rows = read(tmp_path, [{"messages": talk, "label": True}])
    assert rows[0].prompt == [user("What is this?")]


def test_pictures_are_refused(tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
    ]
    talk = [{"role": "user", "content": parts}, assistant("A fish.")]
    assert refusal(tmp_path, [{"messages": talk, "label": True}]) == (
        'rated.jsonl, row 1, message 1 of "messages": content holds a part of type "image_url";'
        " only text is trained on"
    )


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking", "tool_plan"])
def test_reasoning_is_kept(tmp_path: Path, key: str) -> None:
    answer = {**assistant("4"), key: "2 and 2 are 4"}
    _, rows = read(tmp_path, [{"messages": [user("2 + 2?"), answer], "label": True}])
    assert rows[0].completion == [answer]


def test_reasoning_in_the_text_stays_there(tmp_path: Path) -> None:
    answer = assistant("<think>2 and 2</think>4")
    _, rows = read(tmp_path, [{"messages": [user("2 + 2?"), answer], "label": True}])
    assert rows[0].completion == [answer]


def test_messages_by_column_are_turned(tmp_path: Path) -> None:
    """As `datasets` gives a sequence of objects."""
    talk = {"role": ["user", "assistant"], "content": ["Hi", "Ho"]}
    _, rows = read(tmp_path, [{"messages": talk, "label": True}])
    assert (rows[0].prompt, rows[0].completion) == ([user("Hi")], [assistant("Ho")])


def test_messages_as_json_text_in_a_table(tmp_path: Path) -> None:
    talk = '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]'
    _, rows = read(tmp_path, [{"messages": talk, "label": "true"}], "rated.csv")
    assert (rows[0].prompt, rows[0].completion) == ([user("Hi")], [assistant("Ho")])


def test_roles_of_any_name_stay(tmp_path: Path) -> None:
    talk = [
        {"role": "developer", "content": "Be brief."},
        {"role": "critic", "content": "Hm."},
        assistant("Ok."),
    ]
    _, rows = read(tmp_path, [{"messages": talk, "label": True}])
    assert rows[0].prompt == talk[:2]


def test_openai_preference(tmp_path: Path) -> None:
    asked = [system("Be brief."), user("How cold is it?")]
    record = {
        "input": {"messages": asked, "tools": [], "parallel_tool_calls": True},
        "preferred_output": [assistant("Not very.")],
        "non_preferred_output": [assistant("It is not particularly cold.")],
    }
    name, rows = read(tmp_path, [record])
    assert name == "OpenAI preference"
    assert [(r.prompt, r.completion, r.label, r.tools) for r in rows] == [
        (asked, record["preferred_output"], True, None),
        (asked, record["non_preferred_output"], False, None),
    ]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (
            [user("a"), {"role": "assistant", "tool_calls": [{"id": "x"}]}],
            "a call of a function is an object",
        ),
        ([user("a"), {"role": "assistant", "content": {"text": "b"}}], "content is an object; expected text"),
        ([user("a"), {"role": 3, "content": "b"}], "role is 3; expected text"),
        ([user("a"), {**assistant("b"), "thinking": "\ud800"}], "half of a surrogate pair"),
        ([user("a"), {**assistant(""), "tool_calls": [{"name": "\0"}]}], "a call of a function"),
        ([{"role": "\ud800", "content": "a"}, assistant("b")], "role holds half of a surrogate pair"),
        (
            [{"role": "tool", "content": "a", "name": "\0"}, assistant("b")],
            "the answer of a tool holds a NUL",
        ),
        ("[1, 2]", 'message 1 of "messages": found 1; expected an object with role and content'),
    ],
)
def test_messages_that_are_none(tmp_path: Path, messages: Any, expected: str) -> None:
    assert expected in refusal(tmp_path, [{"messages": messages, "label": True}])


def test_calls_are_not_nested_without_end(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = {"a": deep}
    talk = [user("a"), {"role": "assistant", "tool_calls": [{"name": "f", "arguments": deep}]}]
    assert "nested too deeply" in refusal(tmp_path, [{"messages": talk, "label": True}])


def test_nulls_that_columns_fill_in_are_left_out(tmp_path: Path) -> None:
    """Parquet gives all objects of a column the same keys; what is text is as its author wrote it."""
    holes = {"type": "object", "properties": {"city": {"type": "string"}, "day": None}}
    tools = [{"type": "function", "function": {"name": "rain", "parameters": holes}}]
    call = {"id": None, "function": {"name": "rain", "arguments": {"city": "Bonn", "day": None}}}
    talk = [user("Rain?"), {"role": "assistant", "content": None, "tool_calls": [call]}]
    _, rows = read(tmp_path, [{"messages": talk, "tools": tools, "label": True}])
    assert rows[0].tools is not None
    assert rows[0].tools[0]["function"]["parameters"]["properties"] == {"city": {"type": "string"}}
    assert rows[0].completion[0]["tool_calls"][0]["function"]["arguments"] == {"city": "Bonn"}  # type: ignore[index]
    call["function"] = {"name": "rain", "arguments": '{"day": null}'}
    _, rows = read(tmp_path, [{"messages": talk, "tools": json.dumps(tools), "label": True}])
    assert rows[0].tools == tools
    assert rows[0].completion[0]["tool_calls"][0]["function"]["arguments"] == {"day": None}  # type: ignore[index]
