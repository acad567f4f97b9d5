"""What stands around the prompt of a trace: system prompt, earlier turns, tools, and other texts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.reading import assistant, opened, read, refusal, system, user, written

Q, S = user("Name a fish."), system("You help.")
TURNS = [user("Hi"), assistant("Ho")]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": 2}}}


def trace(given: Any, **more: Any) -> dict[str, Any]:
    return {"input": given, "output": "Cod.", "scores": {"user-feedback": 1}, **more}


def as_table(record: dict[str, Any]) -> dict[str, Any]:
    """The record as a row of a .csv."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in record.items()}


@pytest.mark.parametrize("kind", ["a.jsonl", "a.csv"])
@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"question": "Name a fish.", "context": "Sea."}, "input.question"),
        ({"nested": {"question": "Name a fish.", "context": "Sea."}}, "input.nested.question"),
        ({"messages": [Q], "extra": "x"}, "input.messages"),
        ({"args": ["Name a fish.", "Sea."]}, "input.args.0"),
    ],
)
@pytest.mark.parametrize("further_in", [True, False])
def test_a_prompt_that_is_named_keeps_what_stands_around_it(
    tmp_path: Path, given: dict[str, Any], name: str, further_in: bool, kind: str
) -> None:
    beside = {"system": "You help.", "history": [["Hi", "Ho"]], "tools": [TOOL]}
    record = trace({**given, **beside}) if further_in else trace(given, **beside)
    _, (row,) = read(tmp_path, [as_table(record) if kind == "a.csv" else record], kind, prompt=name)
    assert (row.prompt, row.tools) == ([S, *TURNS, Q], [TOOL])


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        ({"system": None}, {"system": "You help."}),
        ({"system": ""}, {"system": "You help."}),
        ({"system": "You help."}, {"system": "You help."}),
        ({"system": "You help."}, {"system": None}),
        ({"tools": [], "history": []}, {"system": "You help."}),
    ],
)
def test_what_is_empty_overrules_nothing(tmp_path: Path, inner: Any, outer: Any) -> None:
    _, (row,) = read(tmp_path, [trace({"messages": [Q], **inner}, **outer)])
    assert row.prompt == [S, Q]


@pytest.mark.parametrize("name", ["system", "history", "tools"])
def test_two_of_a_kind_that_differ_are_refused(tmp_path: Path, name: str) -> None:
    one: dict[str, Any] = {"system": "A", "history": [["a", "b"]], "tools": [{"name": "f"}]}
    other: dict[str, Any] = {"system": "B", "history": [["a", "c"]], "tools": [{"name": "g"}]}
    records = [trace({"messages": [Q], name: one[name]}, **{name: other[name]})]
    assert f'row 1: "{name}" stands twice around the prompt' in refusal(tmp_path, records)


@pytest.mark.parametrize(
    ("given", "prompt"),
    [
        ({"messages": [*TURNS, Q], "chat_history": TURNS}, [*TURNS, Q]),
        ({"messages": [S, *TURNS, Q], "chat_history": TURNS}, [S, *TURNS, Q]),
        ({"input": "Name a fish.", "chat_history": [*TURNS, Q]}, [*TURNS, Q]),
        ({"messages": [S, Q], "chat_history": TURNS}, [S, *TURNS, Q]),
        ({"messages": [S, Q], "chat_history": [S, *TURNS]}, [S, *TURNS, Q]),
        ({"input": "Name a fish.", "chat_history": [S, *TURNS]}, [S, *TURNS, Q]),
    ],
)
def test_earlier_turns_come_once_and_after_the_system_prompt(
    tmp_path: Path, given: Any, prompt: list[Any]
) -> None:
    _, (row,) = read(tmp_path, [trace(given)])
    assert row.prompt == prompt


def test_earlier_turns_under_another_system_prompt(tmp_path: Path) -> None:
    records = [trace({"messages": [S, Q], "history": [system("B"), *TURNS]})]
    assert "the history begins with another system prompt than the messages" in refusal(tmp_path, records)


def test_an_output_that_holds_the_prompt_has_earlier_turns_too(tmp_path: Path) -> None:
    record = trace("Name a fish.", output=[Q, assistant("Cod.")], history=[["Hi", "Ho"]])
    _, (row,) = read(tmp_path, [record], prompt="output")
    assert row.prompt == [*TURNS, Q]


@pytest.mark.parametrize(
    "given",
    [
        {"user": "Name a fish.", "context": "Sea."},
        {"user": "Name a fish.", "assistant": "Hi"},
        {"metadata": {"question": "Name a fish."}, "lang": "en"},
        {"metadata": {"question": "Name a fish."}, "user": "u-17"},
        {"messages": [], "lang": "en"},
        {"question": "", "user": "u-17"},
    ],
)
def test_an_odd_text_is_not_the_prompt_where_another_may_be(tmp_path: Path, given: dict[str, Any]) -> None:
    assert refusal(tmp_path, [trace(given)]) == (
        f'rated.jsonl, row 1: "input" holds {", ".join(given)};'
        " choose the prompt in it with --prompt-column input.NAME"
    )


@pytest.mark.parametrize(
    "given",
    [
        {"user": "Name a fish."},
        {"user": "u-17", "question": "Name a fish."},
        {"config": {"model": "m"}, "text": "Name a fish."},
        {"messages": [["human", "Name a fish."]]},
        {"messages": [[["human", "Name a fish."]]]},
    ],
)
def test_what_is_plainly_the_prompt(tmp_path: Path, given: dict[str, Any]) -> None:
    _, (row,) = read(tmp_path, [trace(given)])
    assert row.prompt == [Q]


@pytest.mark.parametrize("prompt", ["prompt", "input.input"])
def test_instructions_of_a_request_are_its_system_prompt(tmp_path: Path, prompt: str) -> None:
    given = {"model": "m", "instructions": "You help.", "input": "Name a fish."}
    said = {
        "object": "response",
        "output": [{"type": "message", "content": [{"text": "Cod."}]}],
        "text": {"a": 1},
    }
    source = opened(written(tmp_path, [trace(given, output=said)]), prompt=prompt)
    (row,) = source.rows()
    assert (row.prompt, row.completion) == ([S, Q], [assistant("Cod.")])
    assert source.format.unread == ()


def test_words_for_the_model_among_settings_are_listed(tmp_path: Path) -> None:
    given = {
        "messages": [Q],
        "self": {"system_prompt": "A", "name": "m"},
        "invocation_params": {"tools": [TOOL]},
    }
    source = opened(written(tmp_path, [trace(given)]))
    assert source.format.unread == ("input.self.system_prompt", "input.invocation_params.tools")


def test_answers_that_are_one_of_a_list(tmp_path: Path) -> None:
    said = {"candidates": [{"content": {"parts": [{"text": "Cod."}]}}]}
    name = "output.candidates.0.content.parts.0.text"
    _, (row,) = read(tmp_path, [trace("Name a fish.", output=said)], completion=name)
    assert row.completion == [assistant("Cod.")]
    with_none = trace("Name a fish.", output={"candidates": []})
    assert f'no "{name}"' in refusal(tmp_path, [with_none], completion=name)


def test_instructions_of_a_saved_response_are_its_system_prompt(tmp_path: Path) -> None:
    said = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]
    record = {"object": "response", "model": "m", "instructions": "S", "input": "q", "output": said}
    source = opened(written(tmp_path, [{**record, "feedback": "up"}]))
    (row,) = source.rows()
    assert row.prompt == [system("S"), user("q")]
    assert "instructions" not in source.format.unread
