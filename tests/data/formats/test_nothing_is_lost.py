"""What belongs to a prompt reaches it, or is refused: also where the first rows do not show it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.reading import assistant, read, refusal, user

GOOD: dict[str, Any] = {"label": True}
PAIR = {"chosen": "The a", "rejected": "The b"}


@pytest.mark.parametrize("prompt", ["instruction", "question", "query"])
@pytest.mark.parametrize("answers", [PAIR, {"response": "a", "rating": 1}])
def test_an_input_that_is_first_filled_late_is_joined(
    tmp_path: Path, prompt: str, answers: dict[str, Any]
) -> None:
    first = [{prompt: "Say", "input": "", **answers}] * 25
    _, rows = read(tmp_path, [*first, {prompt: "Translate", "input": "THE TEXT", **answers}])
    assert rows[-1].prompt == [user("Translate\nTHE TEXT")]


@pytest.mark.parametrize("answers", [PAIR, {"response": "a", "rating": 1}])
def test_an_input_that_comes_late_is_refused(tmp_path: Path, answers: dict[str, Any]) -> None:
    first = [{"question": "Say", **answers}] * 25
    assert '"input" belongs to' in refusal(tmp_path, [*first, {"question": "Say", "input": "x", **answers}])


@pytest.mark.parametrize("late", [{"prompt": "REAL"}, {"messages": [user("REAL")]}])
def test_pairs_without_a_prompt_refuse_a_late_one(tmp_path: Path, late: dict[str, Any]) -> None:
    name = next(iter(late))
    assert f'row 26: "{name}" belongs to' in refusal(tmp_path, [*[PAIR] * 25, {**PAIR, **late}])


@pytest.mark.parametrize("prompt", ["prompt", "question"])
def test_a_table_with_input_and_output_keeps_its_instruction(tmp_path: Path, prompt: str) -> None:
    record = {prompt: "Translate to French", "input": "cat", "output": "chat", "rating": 1}
    _, (row,) = read(tmp_path, [record])
    assert row.prompt == [user("Translate to French\ncat")]


def test_what_stands_beside_a_trace_s_input_belongs_to_it(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    record = {"system": "S", "history": [["a", "b"]], "tools": [tool], "input": [user("q")], "output": "z"}
    _, (row,) = read(tmp_path, [{**record, **GOOD}])
    assert row.prompt == [{"role": "system", "content": "S"}, user("a"), assistant("b"), user("q")]
    assert row.tools == [tool]


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ('{"review": "bad product"}', '{"review": "bad product"}'),
        ("[1, 2]", "[1, 2]"),
        ('{"question": "q"}', "q"),
        (json.dumps([user("q")]), "q"),
    ],
)
def test_text_of_a_trace_is_only_opened_where_an_application_sent_it(
    tmp_path: Path, text: str, prompt: str
) -> None:
    _, (row,) = read(tmp_path, [{"input": text, "output": "neg", **GOOD}])
    assert row.prompt == [user(prompt)]


@pytest.mark.parametrize("prompt", ["q", [user("q")], [user("a"), assistant("b"), user("q")]])
def test_an_answer_that_holds_the_whole_conversation_is_cut_to_the_answer(
    tmp_path: Path, prompt: Any
) -> None:
    before = [user("q")] if isinstance(prompt, str) else prompt
    for begun in (before, before[-1:]):
        record = {"prompt": prompt, "completion": [*begun, assistant("a")], **GOOD}
        _, (row,) = read(tmp_path, [record])
        assert (row.prompt, row.completion) == (before, [assistant("a")])


def test_an_answer_that_begins_with_another_question_is_refused(tmp_path: Path) -> None:
    record = {"prompt": "q", "completion": [user("other"), assistant("a")], **GOOD}
    assert 'begins with a message of role "user" that is not the prompt' in refusal(tmp_path, [record])


@pytest.mark.parametrize(
    "answer",
    [
        '{"from": "USD", "to": "EUR", "value": 5}',
        '{"role": "engineer", "content": "x"}',
        '{"role": "user", "content": "x"}',
        '[{"role": "engineer", "content": "x"}]',
        "{'value': 3} what type is it?",
        "[{'value': 3}]",
    ],
)
def test_an_answer_that_is_json_stays_the_text_it_is(tmp_path: Path, answer: str) -> None:
    _, (row,) = read(tmp_path, [{"prompt": "Give JSON", "completion": answer, **GOOD}])
    assert (row.prompt, row.completion) == ("Give JSON", answer)


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "q", "output_A": "a", "output_B": "b", "label": 1},
        {"input": {"messages": [user("q")]}, "preferred_output": "a", "non_preferred_output": "b"},
    ],
)
def test_a_system_prompt_beside_a_preference_belongs_to_it(tmp_path: Path, record: dict[str, Any]) -> None:
    _, rows = read(tmp_path, [{**record, "system": "S"}])
    assert [row.prompt for row in rows] == [[{"role": "system", "content": "S"}, user("q")]] * 2
