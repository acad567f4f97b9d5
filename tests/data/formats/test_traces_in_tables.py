"""Traces in tables, where objects are JSON text, or what Python printed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.reading import assistant, opened, read, refusal, user, written


def table(*answers: str, column: str = "outputs", **more: str) -> list[dict[str, Any]]:
    plain = {"inputs": '{"input": "q"}', "outputs": "a", "score": "1", **more}
    return [{**plain, column: answer} for answer in answers]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("inputs", str({"input": "q"})),
        ("inputs", str([{"type": "human", "content": "q"}])),
        ("outputs", str({"output": "a"})),
        ("outputs", "content='a' additional_kwargs={} response_metadata={'m': 1}"),
        ("outputs", "[HumanMessage(content='q'), AIMessage(content='a')]"),
    ],
)
def test_objects_as_python_prints_them(tmp_path: Path, column: str, text: str) -> None:
    found = refusal(tmp_path, table(text, text, column=column), "a.csv")
    assert found.startswith(f'a.csv: "{column}" holds an object as Python prints it; expected JSON')


def test_an_answer_in_python_among_others_is_an_answer(tmp_path: Path) -> None:
    _, rows = read(tmp_path, table("{'a': 1}", "No."), "a.csv")
    assert rows[0].completion == [assistant("{'a': 1}")]


def test_scores_as_python_prints_them_are_no_missing_ones(tmp_path: Path) -> None:
    records = [{"inputs": "q", "outputs": "a", "feedback_stats": str({"user_score": {"n": 1, "avg": 1.0}})}]
    assert '"feedback_stats" holds an object as Python prints it' in refusal(tmp_path, records, "a.csv")


@pytest.mark.parametrize("key", ["output", "answer"])
def test_an_answer_in_json_text_must_be_told_from_what_the_model_said(tmp_path: Path, key: str) -> None:
    records = table(json.dumps({key: "a"}), json.dumps({key: "b", "sources": []}))
    assert refusal(tmp_path, records, "a.csv") == (
        'a.csv: "outputs" holds JSON text; choose the answer in it with --completion-column'
        f" outputs.{key}, or all of that text with --completion-column outputs"
    )
    for name, answer in ((f"outputs.{key}", "a"), ("outputs", records[0]["outputs"])):
        _, rows = read(tmp_path, records, "a.csv", completion=name)
        assert rows[0].completion == [assistant(answer)]


@pytest.mark.parametrize(
    ("given", "said"), [('{"text": "q", "model": "m"}', "a"), ('{"text": "q"}', '{"output": "a"}')]
)
def test_an_input_in_json_text_must_be_told_from_what_a_person_asked(
    tmp_path: Path, given: str, said: str
) -> None:
    records = [{**table(said)[0], "inputs": given}]
    answer = "outputs.output" if said != "a" else "completion"
    assert refusal(tmp_path, records, "a.csv", completion=answer) == (
        'a.csv: "inputs" holds JSON text; choose the prompt in it with --prompt-column inputs.text,'
        " or all of that text with --prompt-column inputs"
    )
    for name, prompt in (("inputs.text", "q"), ("inputs", given)):
        _, (row,) = read(tmp_path, records, "a.csv", prompt=name, completion=answer)
        assert row.prompt == [user(prompt)]


@pytest.mark.parametrize("text", ['{"name": "Cod", "size": "big"}', '["a"]', "a"])
def test_other_json_is_what_the_model_said(tmp_path: Path, text: str) -> None:
    _, rows = read(tmp_path, table(text), "a.csv")
    assert rows[0].completion == [assistant(text)]


@pytest.mark.parametrize(
    "said",
    [
        {"object": "response", "output": [{"type": "message", "content": [{"text": "a"}]}]},
        {"type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"},
        [{"type": "text", "text": "a"}],
    ],
)
def test_what_only_clients_return_is_opened_in_tables_too(tmp_path: Path, said: Any) -> None:
    for name, answer in (("a.csv", json.dumps(said)), ("a.jsonl", said)):
        _, rows = read(tmp_path, table(answer), name)
        assert rows[0].completion == [assistant("a")]


def test_text_that_mlflow_encoded(tmp_path: Path) -> None:
    rated = {"assessments": [{"assessment_name": "user_feedback", "feedback": {"value": True}}]}
    records = [
        {"request": '"q"', "response": '"a"', **rated},
        {"request": '{"question": "r"}', "response": '"b"', **rated},
    ]
    _, rows = read(tmp_path, records)
    assert [(row.prompt, row.completion) for row in rows] == [
        ([user("q")], [assistant("a")]),
        ([user("r")], [assistant("b")]),
    ]
    _, rows = read(tmp_path, [{"request": "q", "response": response, **rated} for response in ('"a"', "b")])
    assert rows[0].completion == [assistant('"a"')]


def test_feedback_in_json_text(tmp_path: Path) -> None:
    """As a table has Weave's summary; `detoned` may be there and null."""
    payload = {"detoned": None, "emoji": "👍"}
    summary = {"weave": {"feedback": [{"feedback_type": "wandb.reaction.1", "payload": payload}]}}
    records = [{"inputs": '{"question": "q"}', "output": "a", "summary": json.dumps(summary)}]
    name, rows = read(tmp_path, records, "a.csv")
    assert (name, [row.label for row in rows]) == ("trace export (score: reaction)", [True])


def test_columns_with_dots_that_are_read_are_not_listed(tmp_path: Path) -> None:
    phoenix = {"attributes.input.value": "q", "attributes.output.value": "a", "label": "1"}
    assert opened(written(tmp_path, [phoenix], "a.csv")).format.unread == ()
    weave = {"inputs.example.question": "q", "inputs.example.system": "s", "output": "a", "feedback": "1"}
    source = opened(written(tmp_path, [weave], "b.csv"), prompt="inputs.example.question")
    assert [row.prompt for row in source.rows()] == [[user("q")]]
    assert source.format.unread == ("inputs.example.system",)


def test_a_record_is_left_as_it_was(tmp_path: Path) -> None:
    record = {"inputs": {"model": "m"}, "inputs.question": "q", "output": "a", "feedback": "1"}
    source = opened(written(tmp_path, [record]))
    for _ in range(2):
        assert [row.prompt for row in source.rows()] == [[user("q")]]
    source.format.rows(record, "here")
    assert record["inputs"] == {"model": "m"}


@pytest.mark.parametrize("record", [{"messages": [user("q"), assistant("a")]}, {"input": "q", "output": "a"}])
def test_names_with_dots_lead_into_json_text(tmp_path: Path, record: dict[str, Any]) -> None:
    records = [{**record, "metadata": {"feedback": "down", "user": None}}]
    _, (row,) = read(tmp_path, records, "a.csv", label="metadata.feedback")
    assert row.label is False
