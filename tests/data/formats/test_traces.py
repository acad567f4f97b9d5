"""Traces with scores, as Langfuse, W&B Weave and LangSmith export them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.reading import assistant, opened, read, refusal, system, user, written

ASKED = [system("You help."), user("Name a fish.")]


def langfuse(value: Any, kind: str = "NUMERIC", text: str | None = None, **more: Any) -> dict[str, Any]:
    """A trace as the API and "Download JSON" give it."""
    score = {
        "id": "0a1b",
        "traceId": "7c9d",
        "name": "user-feedback",
        "value": value,
        "stringValue": text,
        "dataType": kind,
        "source": "API",
        "comment": None,
    }
    return {
        "id": "7c9d",
        "timestamp": "2024-11-06T09:12:44.512Z",
        "name": "chat",
        "input": {"messages": ASKED, "model": "m"},
        "output": {"role": "assistant", "content": "Cod."},
        "metadata": {"tier": "free"},
        "tags": [],
        "scores": [score],
        "observations": [],
        **more,
    }


@pytest.mark.parametrize(
    ("score", "label"),
    [
        ((1,), True),
        ((0,), False),
        ((1, "BOOLEAN", "True"), True),
        ((0, "BOOLEAN", "False"), False),
        ((None, "CATEGORICAL", "good"), True),
        ((2, "CATEGORICAL", "bad"), False),
        (("good", "CATEGORICAL"), True),
        ((0, "TEXT", "good"), True),
    ],
)
def test_langfuse(tmp_path: Path, score: tuple[Any, ...], label: bool) -> None:
    name, rows = read(tmp_path, [langfuse(*score)], "traces.json")
    assert name == "trace export (score: user-feedback)"
    assert (rows[0].prompt, rows[0].completion, rows[0].label) == (ASKED, [assistant("Cod.")], label)


def test_unrated_and_torn_traces_are_skipped_and_counted(tmp_path: Path) -> None:
    torn = langfuse(1)
    torn["scores"].append({**torn["scores"][0], "value": 0})
    records = [langfuse(1), langfuse(0), torn, langfuse(1, scores=[]), langfuse(None)]
    source = opened(written(tmp_path, records))
    assert [row.label for row in source.rows()] == [True, False]
    assert (source.records, source.unrated, source.tied) == (5, 2, 1)


def test_scores_of_minus_one_need_a_threshold(tmp_path: Path) -> None:
    records = [langfuse(1), langfuse(-1), langfuse(0)]
    assert "--desirable-at-least 1 (0 and -1 are then undesirable), found: 1, -1, 0" in refusal(
        tmp_path, records
    )
    _, rows = read(tmp_path, records, desirable_at_least=1)
    assert [row.label for row in rows] == [True, False, False]


def test_yes_and_no_are_no_numbers_beside_a_threshold(tmp_path: Path) -> None:
    records = [langfuse(1, "BOOLEAN", "True"), langfuse(0, "BOOLEAN", "False")]
    _, rows = read(tmp_path, records, desirable_at_least=4)
    assert [row.label for row in rows] == [True, False]


def test_one_of_several_scores_must_be_chosen(tmp_path: Path) -> None:
    record = langfuse(1)
    record["scores"] = [{**record["scores"][0], "name": name, "value": n} for n, name in enumerate("ab")]
    assert (
        refusal(tmp_path, [record]) == "rated.jsonl: found the ratings a, b; choose one with --label-column"
    )
    _, rows = read(tmp_path, [record], label="a")
    assert rows[0].label is False


@pytest.mark.parametrize("scores", [{"scores": {"user-feedback": [1]}}, {"user-feedback": [1]}])
def test_langfuse_table(tmp_path: Path, scores: dict[str, Any]) -> None:
    """As the table of traces is exported: scores by name, input and output as they came."""
    record = {"id": "7c9d", "input": json.dumps(ASKED), "output": '"Cod."', **scores}
    _, rows = read(tmp_path, [{**record, "output": "Cod."}])
    assert (rows[0].prompt, rows[0].completion, rows[0].label) == (ASKED, [assistant("Cod.")], True)


@pytest.mark.parametrize(
    "given",
    [
        "Name a fish.",
        {"question": "Name a fish."},
        {"args": ["Name a fish."], "kwargs": {}},
        {"args": [], "kwargs": {"query": "Name a fish.", "top_k": 3}},
        {"model": "m", "anything": "Name a fish.", "n": 1},
        [{"role": "user", "content": [{"type": "text", "text": "Name a fish."}]}],
        {"messages": [[{"type": "human", "content": "Name a fish."}]]},
        {
            "messages": [
                [
                    {
                        "lc": 1,
                        "type": "constructor",
                        "id": ["langchain", "schema", "HumanMessage"],
                        "kwargs": {"content": "Name a fish.", "type": "human"},
                    }
                ]
            ]
        },
    ],
)
def test_what_went_in(tmp_path: Path, given: Any) -> None:
    _, rows = read(tmp_path, [langfuse(1, input=given)])
    assert rows[0].prompt == [user("Name a fish.")]


@pytest.mark.parametrize(
    "said",
    [
        "Cod.",
        {"role": "assistant", "content": "Cod."},
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Cod."}}]},
        {"generations": [[{"text": "Cod.", "generation_info": {}}]]},
        {"answer": "Cod.", "sources": []},
        [*ASKED, assistant("Cod.")],
    ],
)
def test_what_came_out(tmp_path: Path, said: Any) -> None:
    _, rows = read(tmp_path, [langfuse(1, output=said)])
    assert rows[0].completion == [assistant("Cod.")]


@pytest.mark.parametrize(
    "given",
    [
        {"question": "Name a fish.", "context": "Sea."},
        {"question": "Name a fish.", "prompt": "Answer: {question}"},
        {"question": "Name a fish.", "messages": ASKED, "model": "m"},
        {"question": "Name a fish.", "documents": [{"page_content": "Sea."}]},
    ],
)
@pytest.mark.parametrize("as_text", [True, False])
def test_an_input_of_many_parts_must_be_chosen_from(tmp_path: Path, given: Any, as_text: bool) -> None:
    records = [langfuse(1, input=json.dumps(given) if as_text else given)]
    assert refusal(tmp_path, records) == (
        f'rated.jsonl, row 1: "input" holds {", ".join(given)};'
        " choose the prompt in it with --prompt-column input.NAME"
    )
    _, rows = read(tmp_path, records, prompt="input.question")
    assert rows[0].prompt == [user("Name a fish.")]


@pytest.mark.parametrize("name", ["history", "chat_history"])
@pytest.mark.parametrize("turns", [[user("Hi"), assistant("Ho")], [["Hi", "Ho"]]])
def test_earlier_turns_come_before_the_input(tmp_path: Path, name: str, turns: Any) -> None:
    given = {"input": "Name a fish.", name: turns, "temperature": 0.1}
    _, rows = read(tmp_path, [langfuse(1, input=given)])
    assert rows[0].prompt == [user("Hi"), assistant("Ho"), user("Name a fish.")]


@pytest.mark.parametrize(
    "given",
    [
        {"kwargs": {"messages": ASKED[1:], "system": "You help.", "tools": [{"name": "f"}]}},
        {"args": [ASKED[1:]], "kwargs": {"system": "You help.", "tools": [{"name": "f"}], "model": "m"}},
    ],
)
def test_system_prompt_and_tools_lie_beside_the_messages(tmp_path: Path, given: Any) -> None:
    _, rows = read(tmp_path, [langfuse(1, input=given)])
    assert rows[0].prompt == ASKED
    assert rows[0].tools == [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize("said", ['{"answer": "42", "confidence": 0.9}', '{"message": "42", "sure": true}'])
def test_json_that_the_model_wrote_is_its_answer(tmp_path: Path, said: str) -> None:
    for output in (said, {"content": said}):
        _, rows = read(tmp_path, [langfuse(1, output=output)])
        assert rows[0].completion == [assistant(said)]
    choices = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]})
    _, rows = read(tmp_path, [langfuse(1, output=choices)])
    assert rows[0].completion == [assistant(said)]


def test_a_sole_score_may_be_of_anything(tmp_path: Path) -> None:
    records = [langfuse(1, "BOOLEAN", "True")]
    records[0]["scores"][0]["name"] = "toxicity"
    assert refusal(tmp_path, records) == (
        "rated.jsonl: found the rating toxicity alone, which may be of anything; say that it is of the answer"
        " with --label-column toxicity"
    )
    _, rows = read(tmp_path, records, label="toxicity")
    assert rows[0].label is True


def weave(*emojis: str) -> dict[str, Any]:
    """A call, with the feedback that was asked for along with it."""
    feedback = [
        {
            "feedback_type": "wandb.reaction.1",
            "payload": {"emoji": emoji, "alias": ":x:", "detoned": emoji[:1], "detoned_alias": ":x:"},
        }
        for emoji in emojis
    ]
    note = {"feedback_type": "wandb.note.1", "payload": {"note": "hm"}}
    return {
        "id": "0192f9a4",
        "op_name": "weave:///team/project/op/openai.chat.completions.create:x",
        "trace_id": "0192f9a4",
        "inputs": {"self": "<openai>", "model": "m", "messages": ASKED},
        "output": {"choices": [{"message": {"role": "assistant", "content": "Cod.", "refusal": None}}]},
        "summary": {"weave": {"status": "success", "feedback": [note, *feedback]}},
    }


def test_weave(tmp_path: Path) -> None:
    source = opened(written(tmp_path, [weave("👍🏽"), weave("👎"), weave("🎉"), weave()]))
    rows = list(source.rows())
    assert source.format.name == "trace export (score: reaction)"
    assert [row.label for row in rows] == [True, False]
    assert (rows[0].prompt, rows[0].completion) == (ASKED, [assistant("Cod.")])
    assert source.unrated == 2


def test_weave_table(tmp_path: Path) -> None:
    emoji = "summary.weave.feedback.wandb.reaction.1.payload.emoji"
    records = [
        {"id": "1", "inputs.model": "m", "inputs.question": "Name a fish.", "output": "Cod.", emoji: "👍"},
        {"id": "2", "inputs.model": "m", "inputs.question": "Name a fish.", "output": "Cow.", emoji: "👎"},
        {"id": "3", "inputs.model": "m", "inputs.question": "Name a fish.", "output": "Cat.", emoji: ""},
    ]
    source = opened(written(tmp_path, records, "calls.csv"))
    assert [(row.prompt, row.completion, row.label) for row in source.rows()] == [
        ([user("Name a fish.")], [assistant("Cod.")], True),
        ([user("Name a fish.")], [assistant("Cow.")], False),
    ]
    assert source.unrated == 1


def test_langsmith(tmp_path: Path) -> None:
    run = {"inputs": {"question": "Name a fish."}, "outputs": {"output": "Cod."}, "run_type": "chain"}
    records = [
        {**run, "feedback_stats": {"user_score": {"n": 1, "avg": 1.0}}},
        {**run, "feedback_stats": {"user_score": {"n": 1, "avg": 0.0}}},
    ]
    _, rows = read(tmp_path, records)
    assert [row.label for row in rows] == [True, False]
    _, rows = read(tmp_path, [{**run, "feedback": [{"key": "correct", "score": 1}]}], label="correct")
    assert (rows[0].prompt, rows[0].completion) == ([user("Name a fish.")], [assistant("Cod.")])


def test_columns_that_are_named_win_in_traces_too(tmp_path: Path) -> None:
    run = {"inputs": {"a": "Name a fish.", "b": "Sea."}, "outputs": {"x": "Cod.", "y": "Hm."}}
    records = [{**run, "feedback": [{"key": "correct", "score": 1}]}]
    _, rows = read(tmp_path, records, prompt="inputs.a", completion="outputs.x", label="correct")
    assert (rows[0].prompt, rows[0].completion) == ([user("Name a fish.")], [assistant("Cod.")])


def test_exports_may_begin_with_what_nobody_rated(tmp_path: Path) -> None:
    records = [langfuse(1, scores=[])] * 300 + [langfuse(1), langfuse(0)]
    source = opened(written(tmp_path, records))
    assert source.format.name == "trace export (score: user-feedback)"
    assert [row.label for row in source.rows()] == [True, False]
    assert (source.records, source.unrated) == (302, 300)


def test_traces_without_any_score(tmp_path: Path) -> None:
    source = opened(written(tmp_path, [langfuse(1, scores=[])] * 30))
    assert list(source.rows()) == []
    assert source.unrated == 30


CALL = {"id": "c1", "type": "function", "function": {"name": "sea", "arguments": '{"depth": 9}'}}
CALLED: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [CALL]}
TOLD = {"role": "tool", "tool_call_id": "c1", "content": "cod"}
SEEN = [
    {
        **CALLED,
        "tool_calls": [{**CALL, "function": {"name": "sea", "arguments": {"depth": 9}}}],
    },
    TOLD,
]


@pytest.mark.parametrize(
    ("given", "said", "prompt"),
    [
        (ASKED, [CALLED, TOLD, assistant("Cod.")], [*ASKED, *SEEN]),
        (ASKED, {"messages": [*ASKED, CALLED, TOLD, assistant("Cod.")]}, [*ASKED, *SEEN]),
        (ASKED, [*ASKED[1:], CALLED, TOLD, assistant("Cod.")], [*ASKED, *SEEN]),
        (ASKED, [ASKED[1], assistant("Cod.")], ASKED),
        ("Name a fish.", [*ASKED, assistant("Cod.")], ASKED),
        (
            "Name a fish.",
            [user("Hi"), assistant("Ho"), user("Name a fish."), assistant("Cod.")],
            [user("Hi"), assistant("Ho"), user("Name a fish.")],
        ),
        ([*ASKED, CALLED], [CALLED, TOLD, assistant("Cod.")], [*ASKED, *SEEN]),
    ],
)
def test_what_the_model_saw_before_its_answer_is_of_the_prompt(
    tmp_path: Path, given: Any, said: Any, prompt: Any
) -> None:
    _, rows = read(tmp_path, [langfuse(1, input=given, output=said)])
    assert (rows[0].prompt, rows[0].completion) == (prompt, [assistant("Cod.")])


def test_arguments_as_langchain_has_them(tmp_path: Path) -> None:
    call = {"type": "tool_call", "id": "c1", "name": "sea", "args": {"depth": 9}}
    _, rows = read(tmp_path, [langfuse(1, output={"type": "ai", "content": "", "tool_calls": [call]})])
    assert rows[0].completion == SEEN[:1]


def test_an_output_that_is_another_conversation(tmp_path: Path) -> None:
    said = [system("You help."), user("Be brief. Name a fish."), assistant("Cod.")]
    records = [langfuse(1, input={"question": "Name a fish."}, output=said)]
    assert refusal(tmp_path, records) == (
        'rated.jsonl, row 1: "output" begins with a message of role "system" that is not the prompt in'
        ' "input"; if all of that conversation is to be used, say so with --prompt-column output'
    )
    _, rows = read(tmp_path, records, prompt="output")
    assert (rows[0].prompt, rows[0].completion) == (said[:2], said[2:])


@pytest.mark.parametrize(
    "said",
    [
        {**CALLED, "content": None, "reasoning_content": "Hm."},
        {"content": "", "tool_calls": [CALL], "reasoning_content": "Hm.", "usage": {"n": 1}},
        {"tool_calls": [CALL], "reasoning_content": "Hm."},
        {"type": "ai", "content": "", "tool_calls": [CALL], "reasoning_content": "Hm."},
        {
            "type": "AIMessageChunk",
            "content": "",
            "additional_kwargs": {"tool_calls": [CALL], "reasoning_content": "Hm."},
        },
        [TOLD, {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "Hm."}],
        {
            "generations": [
                [
                    {
                        "text": "",
                        "type": "ChatGeneration",
                        "message": {
                            "lc": 1,
                            "type": "constructor",
                            "id": ["langchain", "schema", "messages", "AIMessageChunk"],
                            "kwargs": {
                                "content": "",
                                "additional_kwargs": {"tool_calls": [CALL], "reasoning_content": "Hm."},
                            },
                        },
                    }
                ]
            ]
        },
    ],
)
def test_what_is_rated_keeps_its_calls_and_its_reasoning(tmp_path: Path, said: Any) -> None:
    _, rows = read(tmp_path, [langfuse(1, output=said)])
    assert rows[0].completion == [{**SEEN[0], "reasoning_content": "Hm."}]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"content": "Cod.", "reasoning_content": "Hm."}, {**assistant("Cod."), "reasoning_content": "Hm."}),
        ({"content": [{"type": "text", "text": "C"}, {"type": "text", "text": "od."}]}, assistant("Cod.")),
        ([{"type": "text", "text": "Cod."}], assistant("Cod.")),
        ({"text": "Cod.", "message": assistant("Cod.")}, assistant("Cod.")),
        ({"answer": "Cod.", "messages": [*ASKED, assistant("Cod.")]}, assistant("Cod.")),
        ({"text": "Cod.", "message": {"content": [{"type": "text", "text": "Cod."}]}}, assistant("Cod.")),
    ],
)
def test_messages_without_a_role(tmp_path: Path, said: Any, answer: Any) -> None:
    _, rows = read(tmp_path, [langfuse(1, output=said)])
    assert rows[0].completion == [answer]


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"text": "Cod.", "result": "Cow."}, "text, result"),
        ({"answer": "Cow.", "messages": [*ASKED, assistant("Cod.")]}, "messages, answer"),
        ({"content": "Cod.", "reasoning_content": "Hm.", "text": "Cow."}, "content, text"),
        ({"text": "Cod.", "result": "Cow.", "value": "Cod."}, "text, result, value"),
    ],
)
def test_an_output_of_several_texts_must_be_chosen_from(tmp_path: Path, said: Any, names: str) -> None:
    first = names.partition(",")[0]
    assert refusal(tmp_path, [langfuse(1, output=said)]) == (
        f'rated.jsonl, row 1: "output" holds {names}, each with a text of its own; choose the answer with'
        f" --completion-column output.{first}"
    )
    _, rows = read(tmp_path, [langfuse(1, output=said)], completion=f"output.{first}")
    assert rows[0].completion == [assistant("Cod.")]


def test_an_output_that_holds_no_or_many_answers(tmp_path: Path) -> None:
    assert refusal(tmp_path, [langfuse(1, output={"reply": "Cod.", "n": 2})]) == (
        'rated.jsonl, row 1: "output" holds reply, n; choose the answer in it with --completion-column'
        " output.NAME"
    )
    choices = {"choices": [{"message": assistant("Cod.")}, {"message": assistant("Cow.")}]}
    assert refusal(tmp_path, [langfuse(1, output=choices)]) == (
        'rated.jsonl, row 1: "output.choices" holds 2 answers; expected the one that was rated'
    )


@pytest.mark.parametrize(
    "text",
    [
        "<truncated due to size exceeding limit>",
        "See @@@langfuseMedia:type=image/png|id=1|source=bytes@@@",
        "weave:///team/project/object/answer:abc",
    ],
)
def test_what_the_export_left_out_is_no_text(tmp_path: Path, text: str) -> None:
    for record in (langfuse(1, output=text), langfuse(1, input=[user(text)])):
        assert "where the export left something out; remove the row" in refusal(tmp_path, [record])


def test_what_is_not_read_is_listed(tmp_path: Path) -> None:
    given = {"question": "Name a fish.", "context": "Sea.", "model": "m", "history": [["Hi", "Ho"]]}
    record = langfuse(1, input=given, output={"answer": "Cod.", "sources": ["a"], "id": "1"})
    source = opened(written(tmp_path, [record]), prompt="input.question")
    assert source.format.unread == ("input.context", "output.sources", "id", "timestamp", "name", "metadata")
    assert opened(written(tmp_path, [langfuse(1)])).format.unread == ("id", "timestamp", "name", "metadata")


def test_functions_of_the_older_api(tmp_path: Path) -> None:
    _, rows = read(tmp_path, [langfuse(1, input={"messages": ASKED, "functions": [{"name": "f"}]})])
    assert rows[0].tools == [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize("other", ["🎉", "❤️", ":tada:"])
def test_other_emojis_are_no_rating(tmp_path: Path, other: str) -> None:
    flat = "summary.weave.feedback.wandb.reaction.1.payload.emoji"
    calls = [{"inputs.question": "q", "output": "a", flat: emoji} for emoji in ("👍", other, "👎")]
    source = opened(written(tmp_path, calls))
    assert ([row.label for row in source.rows()], source.unrated) == ([True, False], 1)


def test_categories_of_langsmith_are_counted(tmp_path: Path) -> None:
    run = {"inputs": {"question": "q"}, "outputs": {"output": "a"}}
    stats = [{"good": 2, "bad": 1}, {"bad": 1}, {"good": 1, "bad": 1}, {}]
    records = [{**run, "feedback_stats": {"user_score": {"n": 3, "avg": None, "values": s}}} for s in stats]
    records.append({**run, "feedback": [{"key": "user_score", "score": None, "value": "good"}]})
    source = opened(written(tmp_path, records))
    assert [row.label for row in source.rows()] == [True, False, True]
    assert (source.unrated, source.tied) == (1, 1)


def test_mlflow(tmp_path: Path) -> None:
    """As `search_traces` gives them; what was overridden or expected is no rating."""

    def found(value: Any, **more: Any) -> dict[str, Any]:
        return {"assessment_name": "user_feedback", "feedback": {"value": value}, "valid": True, **more}

    said = {"choices": [{"index": 0, "message": assistant("Cod.")}]}
    trace = {"trace_id": "1", "state": "OK", "request": {"messages": ASKED}, "response": said, "spans": []}
    wanted = {"assessment_name": "user_feedback", "expectation": {"value": False}}
    records = [
        {**trace, "assessments": [found(True), found(False, valid=False), wanted]},
        {**trace, "assessments": [found(False)]},
        {**trace, "assessments": []},
    ]
    source = opened(written(tmp_path, records))
    rows = list(source.rows())
    assert source.format.name == "trace export (score: user_feedback)"
    assert ([row.label for row in rows], source.unrated) == ([True, False], 1)
    assert (rows[0].prompt, rows[0].completion) == (ASKED, [assistant("Cod.")])


def test_helicone(tmp_path: Path) -> None:
    said = {"choices": [{"index": 0, "message": assistant("Cod.")}]}
    record = {"request_id": "1", "request_body": {"messages": ASKED, "model": "m"}, "response_body": said}
    scores = {"helicone-score-feedback": {"value": 0, "valueType": "boolean"}}
    _, rows = read(tmp_path, [{**record, "scores": scores}], label="helicone-score-feedback")
    assert (rows[0].prompt, rows[0].completion, rows[0].label) == (ASKED, [assistant("Cod.")], False)


def test_request_and_response_may_be_of_anything(tmp_path: Path) -> None:
    assert "known formats" in refusal(tmp_path, [{"request": "GET /", "response": "200", "quality": "good"}])


def test_the_number_of_a_category_is_no_rating(tmp_path: Path) -> None:
    for kind in ("CATEGORICAL", "TEXT"):
        assert f'"user-feedback" is "{kind} 0"' in refusal(tmp_path, [langfuse(0, kind)])


def test_a_correction_is_no_rating(tmp_path: Path) -> None:
    record = langfuse(1)
    record["scores"].append(
        {**record["scores"][0], "dataType": "CORRECTION", "value": 0, "stringValue": "Cow."}
    )
    _, rows = read(tmp_path, [record])
    assert rows[0].label is True


@pytest.mark.parametrize(
    "rated",
    [
        {"feedback_scores": [{"name": "user_feedback", "value": 1.0, "source": "sdk", "reason": None}]},
        {"feedback": {"thumb": "up", "comment": "Nice"}},
    ],
)
def test_other_places_of_a_rating(tmp_path: Path, rated: dict[str, Any]) -> None:
    _, rows = read(tmp_path, [{"id": "1", "input": {"messages": ASKED}, "output": "Cod.", **rated}])
    assert (rows[0].prompt, rows[0].completion, rows[0].label) == (ASKED, [assistant("Cod.")], True)


def test_phoenix(tmp_path: Path) -> None:
    """A table of spans, with an annotation joined to it."""
    said = json.dumps({"choices": [{"index": 0, "message": assistant("Cod.")}]})
    record = {"attributes.input.value": json.dumps({"messages": ASKED, "model": "m"}), "correct": "correct"}
    _, rows = read(tmp_path, [{**record, "attributes.output.value": said}], label="correct")
    assert (rows[0].prompt, rows[0].completion, rows[0].label) == (ASKED, [assistant("Cod.")], True)


def test_a_response_of_openai(tmp_path: Path) -> None:
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Cod."}]}
    said = {
        "object": "response",
        "output": [message],
        "text": {"format": {"type": "text"}},
        "usage": {"n": 1},
    }
    _, rows = read(tmp_path, [langfuse(1, output=said)])
    assert rows[0].completion == [assistant("Cod.")]


@pytest.mark.parametrize("part", ["input", "output"])
def test_objects_as_python_prints_them(tmp_path: Path, part: str) -> None:
    record = {"input": "q", "output": "a", "scores": json.dumps({"user-feedback": 1})}
    record[part] = str({"model": "m", "messages": ASKED})
    assert f'"{part}" holds an object as Python prints it; expected JSON' in refusal(
        tmp_path, [record], "calls.csv"
    )


def test_annotations_in_a_table_of_weave(tmp_path: Path) -> None:
    column = "summary.weave.feedback.wandb.annotation.correct.payload.value"
    calls = [{"inputs.question": "q", "output": "a", column: value} for value in ("True", "False", "")]
    assert "with --label-column wandb.annotation.correct" in refusal(tmp_path, calls, "a.csv")
    source = opened(written(tmp_path, calls, "b.csv"), label="wandb.annotation.correct")
    assert ([row.label for row in source.rows()], source.unrated) == ([True, False], 1)


def test_an_empty_output_beside_a_text(tmp_path: Path) -> None:
    assert "each with a text of its own" in refusal(
        tmp_path, [langfuse(1, output={"choices": [[]], "text": "Cod."})]
    )
