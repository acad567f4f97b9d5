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
