"""What chat templates know beside role and content, and OpenAI's files."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.reading import assistant, opened, read, refusal, system, user, written

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


def test_roles_are_known_in_any_case(tmp_path: Path) -> None:
    talk = [{"role": "User", "content": "Hi"}, {"role": "ASSISTANT", "content": "Ho"}]
    _, rows = read(tmp_path, [{"messages": talk, "label": True, "tools": "null"}])
    assert (rows[0].prompt, rows[0].completion, rows[0].tools) == ([user("Hi")], [assistant("Ho")], None)


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


def test_nulls_of_tools_and_arguments_stay_as_written(tmp_path: Path) -> None:
    """The readers of columnar files have left out the nulls that an author did not write."""
    holes = {"type": "object", "properties": {"city": {"type": "string", "default": None}}}
    tools = [{"type": "function", "function": {"name": "rain", "parameters": holes}}]
    for arguments in ({"city": "Bonn", "day": None}, '{"city": "Bonn", "day": null}'):
        call = {"id": None, "function": {"name": "rain", "arguments": arguments}}
        talk = [user("Rain?"), {"role": "assistant", "content": None, "tool_calls": [call]}]
        given = tools if isinstance(arguments, dict) else json.dumps(tools)
        _, rows = read(tmp_path, [{"messages": talk, "tools": given, "label": True}])
        assert rows[0].tools == tools
        answer: Any = rows[0].completion
        assert answer[0]["tool_calls"][0]["function"]["arguments"] == {"city": "Bonn", "day": None}


def test_a_message_of_reasoning_alone_needs_no_content(tmp_path: Path) -> None:
    """As columnar files have it, where a content of null is a key that is not there."""
    talk = [user("Why?"), {"role": "assistant", "reasoning_content": "Hm."}]
    _, rows = read(tmp_path, [{"messages": talk, "label": True}])
    assert rows[0].completion == [{**assistant(""), "reasoning_content": "Hm."}]


THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "2 and 2"}]}
SAID = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "4", "annotations": []}],
}


@pytest.mark.parametrize("said", [SAID, {key: SAID[key] for key in ("type", "content")}])
@pytest.mark.parametrize("as_text", [False, True])
def test_items_of_openai_s_responses(tmp_path: Path, said: Any, as_text: bool) -> None:
    items: Any = [THOUGHT, said]
    record = {"prompt": "2 + 2?", "completion": json.dumps(items) if as_text else items, "label": True}
    _, rows = read(tmp_path, [record])
    assert rows[0].prompt == [user("2 + 2?")]
    assert rows[0].completion == [{**assistant("4"), "reasoning_content": "2 and 2"}]


def test_calls_among_items_of_openai_s_responses(tmp_path: Path) -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "rain", "arguments": '{"city": "Bonn"}'}
    items = [
        user("Rain in Bonn?"),
        {"type": "reasoning", "summary": [], "encrypted_content": "x"},
        {"type": "message", "content": [{"type": "output_text", "text": "Hm."}]},
        call,
        {**call, "call_id": "call_2"},
        {"type": "function_call_output", "call_id": "call_1", "output": "yes"},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "So."}], "summary": []},
        SAID,
    ]
    _, rows = read(tmp_path, [{"messages": items, "label": True}])
    assert rows[0].prompt == [
        items[0],
        {**assistant("Hm."), "tool_calls": [PARSED, {**PARSED, "id": "call_2"}]},
        {"role": "tool", "content": "yes", "tool_call_id": "call_1"},
    ]
    assert rows[0].completion == [{**assistant("4"), "reasoning_content": "So."}]
    record = {"messages": [*items, *items[1:]], "label": True}
    assert set(opened(written(tmp_path, [record])).format.unread) <= {"messages[].id", "messages[].status"}
    for last in ([THOUGHT], [THOUGHT, user("a")]):
        message = refusal(tmp_path, [{"messages": [user("a"), SAID, *last], "label": True}])
        assert "found no answer after the reasoning; expected the answer" in message


def test_blocks_of_anthropic_s_messages(tmp_path: Path) -> None:
    blocks = [
        {"type": "thinking", "thinking": "Look.", "signature": "x"},
        {"type": "text", "text": "Hm."},
        {"type": "tool_use", "id": "call_1", "name": "rain", "input": {"city": "Bonn"}},
    ]
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "yes"}]}
    talk = [
        user("Rain in Bonn?"),
        {"role": "assistant", "content": blocks},
        {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "It rains."}]},
    ]
    _, rows = read(tmp_path, [{"messages": talk, "label": True}])
    assert rows[0].prompt == [
        talk[0],
        {**assistant("Hm."), "tool_calls": [PARSED], "reasoning_content": "Look."},
        {"role": "tool", "content": "yes", "tool_call_id": "call_1"},
        user("So?"),
    ]
    assert rows[0].completion == [assistant("It rains.")]
    message = refusal(tmp_path, [{"messages": [{"role": "user", "content": blocks}, SAID], "label": True}])
    assert 'message 1 of "messages": a message of role "user" holds "thinking"; expected text' in message


@pytest.mark.parametrize("name", ["rated.jsonl", "rated.csv"])
def test_a_system_prompt_of_blocks(tmp_path: Path, name: str) -> None:
    """Anthropic's and Bedrock's; in a table as JSON text."""
    blocks = [
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "S"},
        {"text": "Of Bedrock."},
    ]
    given: Any = json.dumps(blocks) if name.endswith("csv") else blocks
    _, rows = read(tmp_path, [{"prompt": "a", "completion": "b", "label": "1", "system": given}], name)
    assert rows[0].prompt == [system("Be brief.\n\nS\n\nOf Bedrock."), user("a")]
    odd = [{"type": "image", "source": {}}]
    message = refusal(tmp_path, [{"prompt": "a", "completion": "b", "label": "1", "system": odd}])
    assert '"system" is a list; expected text' in message


@pytest.mark.parametrize("nothing", ["[]", "", " [] ", "null"])
def test_no_picture_in_a_table_is_no_picture(tmp_path: Path, nothing: str) -> None:
    talk = json.dumps([user("a"), assistant("b")])
    _, rows = read(tmp_path, [{"messages": talk, "label": "1", "images": nothing}], "rated.csv")
    assert rows[0].prompt == [user("a")]


def test_a_refusal_is_an_answer(tmp_path: Path) -> None:
    said = {"role": "assistant", "content": None, "refusal": "I cannot."}
    _, rows = read(tmp_path, [{"messages": [user("a"), said], "label": True}])
    assert rows[0].completion == [assistant("I cannot.")]


@pytest.mark.parametrize(
    "asked", [{"messages": [user("a")]}, {"conversations": [{"from": "human", "value": "a"}]}]
)
@pytest.mark.parametrize("answer", ["b", assistant("b"), [assistant("b")]])
def test_messages_that_only_ask_have_their_answer_beside(tmp_path: Path, asked: Any, answer: Any) -> None:
    _, rows = read(tmp_path, [{**asked, "response": answer, "rating": 1}])
    assert (rows[0].prompt, rows[0].completion) == ([user("a")], [assistant("b")])


OLD = {"name": "rain", "parameters": {"type": "object"}}


@pytest.mark.parametrize("name", ["tools.jsonl", "tools.csv"])
@pytest.mark.parametrize(
    "record",
    [
        {"messages": [user("q"), assistant("a")], "functions": [OLD]},
        {"prompt": "q", "completion": "a", "tools": [{"type": "function", **OLD}]},
        {"prompt": "q", "completion": "a", "functions": [OLD]},
    ],
)
def test_tools_as_they_were_and_beside_text(tmp_path: Path, record: dict[str, Any], name: str) -> None:
    _, (row,) = read(tmp_path, [{**record, "label": True}], name)
    assert row.tools == [{"type": "function", "function": OLD}]
    assert (row.prompt, row.completion) == ([user("q")], [assistant("a")])


def test_functions_that_are_no_tools_are_listed(tmp_path: Path) -> None:
    talk = {"messages": [user("q"), assistant("a")], "label": True}
    source = opened(written(tmp_path, [{**talk, "functions": "def f(): ..."}]))
    assert source.format.unread == ("functions",)
    assert [row.tools for row in source.rows()] == [None]


def test_tools_and_functions_that_differ_are_refused(tmp_path: Path) -> None:
    record = {"messages": [user("q"), assistant("a")], "label": True, "functions": [OLD]}
    assert '"tools" and "functions" are different' in refusal(
        tmp_path, [{**record, "tools": [{"name": "f"}]}]
    )
