"""Exports of Argilla and Label Studio."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.errors import UserError
from kto_tui.data import Columns, check_rows
from kto_tui.data.load import load_rows
from tests.data.formats.reading import assistant, opened, read, refusal, user, written

ANN, BOB, CAY = (f"3e760b76-e19a-480a-b436-a85812b98d{n}0" for n in (1, 2, 3))


def argilla(*votes: tuple[Any, str], suggestion: Any = "yes") -> dict[str, Any]:
    """A record as records.to_datasets() flattens it."""
    return {
        "id": "9f1c7a0e-6a4c-4b2c-9a6f-5a1f5d6f0d11",
        "status": "completed",
        "_server_id": "6d5a6d8c-2a0c-4a3a-8f0e-0d2f7b7b6b1c",
        "prompt": "Name a fish.",
        "response": "Cod.",
        "source": "forum",
        "helpful.responses": [value for value, _ in votes] or None,
        "helpful.responses.users": [ANN, BOB, CAY][: len(votes)] or None,
        "helpful.responses.status": [state for _, state in votes] or None,
        "helpful.suggestion": suggestion,
        "helpful.suggestion.score": 0.9,
        "helpful.suggestion.agent": "judge-7b",
    }


def test_argilla_flat(tmp_path: Path) -> None:
    records = [
        argilla(("yes", "submitted"), ("no", "submitted"), ("yes", "submitted")),
        argilla(("no", "submitted"), ("yes", "draft"), ("yes", "discarded")),
        argilla(("yes", "submitted"), ("no", "submitted")),
        argilla(),
    ]
    source = opened(written(tmp_path, records))
    rows = list(source.rows())
    assert source.format.name == "Argilla export"
    assert [(row.prompt, row.completion) for row in rows] == [
        ([user("Name a fish.")], [assistant("Cod.")])
    ] * 2
    assert [row.label for row in rows] == [True, False]
    assert (source.records, source.unrated, source.tied) == (4, 1, 1)


def test_argilla_suggestions_only_by_name(tmp_path: Path) -> None:
    records = [argilla(suggestion="yes"), argilla(suggestion="no")]
    assert list(opened(written(tmp_path, records)).rows()) == []
    _, rows = read(tmp_path, records, label="helpful.suggestion")
    assert [row.label for row in rows] == [True, False]


def nested(value: Any, **more: Any) -> dict[str, Any]:
    """A record as records.to_json() writes it."""
    return {
        "id": "1",
        "fields": {"chat": [user("Name a fish."), assistant("Cod.")]},
        "metadata": {},
        "suggestions": {"rating": {"value": 2, "score": None, "agent": None}},
        "responses": {"rating": [{"value": value, "user_id": ANN}], **more},
        "vectors": {},
        "status": "completed",
        "_server_id": None,
    }


def test_argilla_nested_with_stars(tmp_path: Path) -> None:
    note = {"note": [{"value": "fine", "user_id": ANN}]}
    _, rows = read(tmp_path, [nested(5, **note), nested(1)], "records.json", desirable_at_least=4)
    assert [row.label for row in rows] == [True, False]
    assert (rows[0].prompt, rows[0].completion) == ([user("Name a fish.")], [assistant("Cod.")])
    assert "--desirable-at-least 4, found: 5, 1" in refusal(tmp_path, [nested(5), nested(1)], "records.json")


def test_argilla_questions_must_be_told_apart(tmp_path: Path) -> None:
    more = {"style": [{"value": "yes", "user_id": ANN}], "tone": [{"value": "no", "user_id": ANN}]}
    record = nested("x")
    record["responses"] = more
    assert (
        refusal(tmp_path, [record])
        == "rated.jsonl: found the ratings style, tone; choose one with --label-column"
    )
    _, rows = read(tmp_path, [record], label="tone")
    assert rows[0].label is False


def test_argilla_one(tmp_path: Path) -> None:
    """Records of Argilla 1, and the columns that its push_to_huggingface made."""
    record = {
        "fields": {"instruction": "Name a fish.", "response": "Cod."},
        "responses": [{"user_id": ANN, "values": {"good": {"value": "yes"}}, "status": "submitted"}],
        "suggestions": [],
    }
    _, rows = read(tmp_path, [record])
    assert (rows[0].prompt, rows[0].label) == ([user("Name a fish.")], True)
    column = {
        "instruction": "Name a fish.",
        "response": "Cow.",
        "good": [{"user_id": ANN, "value": "no", "status": "submitted"}],
        "good-suggestion": None,
    }
    _, rows = read(tmp_path, [column])
    assert (rows[0].completion, rows[0].label) == ([assistant("Cow.")], False)


def task(*results: Any, **more: Any) -> dict[str, Any]:
    """A task of Label Studio's JSON export, one annotation for each result; None for a cancelled one."""
    return {
        "id": 1,
        "annotations": [
            {
                "id": 1001,
                "completed_by": 10,
                "result": [choice("Good") if result is None else result],
                "was_cancelled": result is None,
                "ground_truth": False,
                "lead_time": 4.3,
            }
            for result in results
        ],
        "data": {"prompt": "Name a fish.", "response": "Cod."},
        "predictions": [{"result": [choice("Bad")], "score": 0.2}],
        "created_at": "2024-03-09T21:52:49.513742Z",
        "project": 83,
        **more,
    }


def choice(*names: str, control: str = "quality") -> dict[str, Any]:
    return {
        "id": "Dx_aB91ISN",
        "from_name": control,
        "to_name": "text",
        "type": "choices",
        "value": {"choices": list(names)},
        "origin": "manual",
    }


def rating(stars: int) -> dict[str, Any]:
    return {"from_name": "stars", "to_name": "text", "type": "rating", "value": {"rating": stars}}


def test_label_studio(tmp_path: Path) -> None:
    records = [
        task(choice("Good"), choice("Bad"), choice("Good")),
        task(choice("Bad"), None),
        task(choice("Good"), choice("Bad")),
        task(None),
        task(),
    ]
    source = opened(written(tmp_path, records, "project-83.json"))
    rows = list(source.rows())
    assert source.format.name == "Label Studio export"
    assert (rows[0].prompt, rows[0].completion) == ([user("Name a fish.")], [assistant("Cod.")])
    assert [row.label for row in rows] == [True, False]
    assert (source.records, source.unrated, source.tied) == (5, 2, 1)


def test_label_studio_stars(tmp_path: Path) -> None:
    _, rows = read(tmp_path, [task(rating(4)), task(rating(2))], desirable_at_least=4)
    assert [row.label for row in rows] == [True, False]
    assert '"stars" is 4; expected true/false' in refusal(tmp_path, [task(rating(4)), task(rating(2))])


def test_label_studio_fields_by_name(tmp_path: Path) -> None:
    data = {"ticket": "It is broken.", "reply": "Turn it on."}
    records = [task(choice("Good"), data=data)]
    assert refusal(tmp_path, records) == (
        "rated.jsonl: found the fields ticket, reply; choose the answer with --completion-column"
    )
    _, rows = read(tmp_path, records, prompt="ticket", completion="reply")
    assert (rows[0].prompt, rows[0].completion) == ([user("It is broken.")], [assistant("Turn it on.")])


def test_label_studio_side_by_side(tmp_path: Path) -> None:
    def answers(shown: str, data: dict[str, Any], **columns: Any) -> list[Any]:
        side = {
            "from_name": "better",
            "to_name": shown,
            "type": "pairwise",
            "value": {"selected": "left"},
        }
        name, rows = read(tmp_path, [task(side, data={"prompt": "Name a fish.", **data})], **columns)
        assert name == "Label Studio export, pairwise"
        assert [row.label for row in rows] == [True, False]
        return [row.completion for row in rows]

    cod, cow = [assistant("Cod.")], [assistant("Cow.")]
    assert answers("a,b", {"a": "Cod.", "b": "Cow."}) == [cod, cow]
    assert answers("a, b", {"b": "Cow.", "a": "Cod.", "c": "Hm."}) == [cod, cow]
    assert answers("x,y", {"right": "Cow.", "left": "Cod."}) == [cod, cow]
    assert answers("x,y", {"b": "Cow.", "a": "Cod."}, completion="a") == [cod, cow]
    with pytest.raises(UserError, match="found the answers b, a, and not which of two was shown left"):
        answers("x,y", {"b": "Cow.", "a": "Cod."})


def test_sides_that_change_from_task_to_task(tmp_path: Path) -> None:
    def compared(shown: str, side: str) -> dict[str, Any]:
        value = {"selected": side}
        result = {"from_name": "better", "to_name": shown, "type": "pairwise", "value": value}
        beside = {"history": [["Hi", "Ho"]], "tools": [{"name": "f"}], "system": ""}
        return task(result, data={"prompt": "Name a fish.", "a": "Cod.", "b": "Cow.", **beside})

    shown = [("a,b", "left"), ("b,a", "left"), ("b, a", "right"), ("a,b", "right")]
    source = opened(written(tmp_path, [compared(*each) for each in shown], "a.json"))
    rows = list(source.rows())
    assert [row.completion[0]["content"] for row in rows if row.label] == ["Cod.", "Cow.", "Cod.", "Cow."]  # type: ignore[index]
    assert {str(row.tools) for row in rows} == {"[{'type': 'function', 'function': {'name': 'f'}}]"}
    assert source.format.unread == ()
    same = compared("a,b", "left")
    same["data"] |= {"a": '[{"x": 1}]', "b": '[{"x": 1}]'}
    equal = opened(written(tmp_path, [same], "c.json"))
    assert (list(equal.rows()), equal.tied) == ([], 1)
    odd = [*[compared("a,b", "left")] * 20, compared("a,c", "left")]
    assert "row 21: compares a, c; expected a, b, as in the first tasks" in refusal(tmp_path, odd, "b.json")


def test_label_studio_min(tmp_path: Path) -> None:
    flat = {
        "prompt": "Name a fish.",
        "response": "Cod.",
        "id": 1,
        "annotator": 10,
        "annotation_id": 1001,
        "created_at": "2024-03-09T22:16:08.728353Z",
        "updated_at": "2024-03-09T22:16:08.728378Z",
        "lead_time": 4.3,
    }
    records = [
        {**flat, "quality": "Good"},
        {**flat, "quality": {"choices": ["Bad"]}},
        {**flat, "quality": None},
    ]
    source = opened(written(tmp_path, records, "min.json"))
    assert [row.label for row in source.rows()] == [True, False]
    assert source.format.name == "Label Studio export (JSON_MIN)"
    assert source.unrated == 1


def test_a_comment_that_nobody_writes_is_no_rating(tmp_path: Path) -> None:
    flat = {"prompt": "q", "response": "a", "annotation_id": 1, "lead_time": 4.3, "comment": ""}
    _, rows = read(tmp_path, [{**flat, "quality": "Good"}, {**flat, "quality": "Bad"}], "min.csv")
    assert [row.label for row in rows] == [True, False]


def test_an_export_without_any_rating(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no rows: 2 records without a rating"):
        check_rows(str(written(tmp_path, [argilla(), argilla()])), Columns())


def test_a_prompt_that_is_named_is_not_passed_over_for_a_chat(tmp_path: Path) -> None:
    record = nested("yes")
    record["fields"]["mine"] = "Which?"
    message = refusal(tmp_path, [record], prompt="mine")
    assert message == "rated.jsonl: found the fields chat, mine; choose the answer with --completion-column"


def test_fields_that_are_not_read_are_known(tmp_path: Path) -> None:
    record = nested("yes")
    record["fields"] |= {"context": "Sea.", "note": None}
    assert opened(written(tmp_path, [record])).format.unread == ("context",)
    data = {"prompt": "Name a fish.", "response": "Cod.", "context": "Sea."}
    assert opened(written(tmp_path, [task(choice("Good"), data=data)])).format.unread == ("context",)


SIDE = {"system": "S", "tools": [{"name": "f", "parameters": {}}]}


@pytest.mark.parametrize("kind", ["argilla", "flat", "studio", "min"])
def test_tools_and_pictures_beside_a_prompt(tmp_path: Path, kind: str) -> None:
    def record(**fields: Any) -> dict[str, Any]:
        data = {"prompt": "Name a fish.", "response": "Cod.", **fields}
        rated = {
            "argilla": {"fields": data, "responses": {"good": [{"value": "yes", "user_id": ANN}]}},
            "flat": {**data, "good.responses": ["yes"], "good.suggestion": None, "id": "1"},
            "studio": task(choice("Good"), data=data),
            "min": {**data, "good": "yes", "annotation_id": 1, "lead_time": 1.0},
        }
        return rated[kind]

    label = "good" if kind == "min" else "label"
    source = opened(written(tmp_path, [record(**SIDE, context="Sea.")]), label=label)
    (row,) = source.rows()
    assert (row.label, row.tools) == (True, [{"type": "function", "function": SIDE["tools"][0]}])
    assert row.prompt == [{"role": "system", "content": "S"}, user("Name a fish.")]
    assert source.format.unread == ("context",)
    image = refusal(tmp_path, [record(image="https://a.b/c.png")], label=label)
    assert '"image" holds more than text, and only text is trained on' in image


def test_argilla_in_a_table(tmp_path: Path) -> None:
    flat = {"prompt": "Name a fish.", "response": "Cod.", "good.responses": '["yes", "no", "no"]'}
    states = {"good.responses.status": '["submitted", "submitted", "draft"]'}
    deep = {"fields": json.dumps({"prompt": "Name a fish.", "response": "Cod."})}
    voted = {"responses": json.dumps({"good": [{"value": "no", "user_id": ANN}]})}
    column = {
        "prompt": "q",
        "response": "a",
        "good": json.dumps([{"user_id": ANN, "value": "no", "status": "submitted"}]),
    }
    for number, record in enumerate((flat, {**deep, **voted}, column)):
        _, rows = read(tmp_path, [record], f"{number}.csv")
        assert [row.label for row in rows] == [False]
    source = opened(written(tmp_path, [{**flat, **states}], "states.csv"))
    assert (list(source.rows()), source.tied) == ([], 1)
    printed = refusal(tmp_path, [{**flat, "good.responses": "['yes']"}], "printed.csv")
    assert printed.endswith(
        """"good.responses" is "['yes']"; expected a list (save the data set as .jsonl or .parquet)"""
    )


def test_a_rating_named_for_one_of_several_exports(tmp_path: Path) -> None:
    """The others keep their own, or say what they have."""

    def trace(name: str, value: int) -> dict[str, Any]:
        return {"input": "q", "output": "a", "scores": {name: value}}

    one = written(tmp_path, [trace("correct", 1), trace("correct", 0)], "a.jsonl")
    own = written(tmp_path, [trace("user-feedback", 1), trace("user-feedback", 0)], "b.jsonl")
    studio = written(tmp_path, [task(choice("Good"))], "c.json")
    torn = written(tmp_path, [task(choice("Good"), choice("Bad", control="tone"))], "d.json")
    rows = load_rows(f"{one},{own},{studio}", Columns(label="correct"))
    assert [row.label for row in rows] == [True, False, True, False, True]
    for path, told in (
        (
            f"{one},{torn}",
            'd.json: no rating "correct"; found quality, tone (choose one with --label-column)',
        ),
        (own, 'b.jsonl: no column "correct"; found user-feedback (choose one with --label-column)'),
        (torn, 'd.json: no rating "correct"; found quality, tone'),
    ):
        with pytest.raises(UserError, match=re.escape(told)):
            list(load_rows(str(path), Columns(label="correct")))


def test_a_named_score_that_few_have(tmp_path: Path) -> None:
    quick = {"input": "q", "output": "a", "scores": {"fast": 1}}
    both = {**quick, "scores": {"fast": 1, "correct": 0}}
    source = opened(written(tmp_path, [quick, both]), label="correct")
    assert ([row.label for row in source.rows()], source.unrated) == ([False], 1)
    late = opened(written(tmp_path, [*[quick] * 30, both]), label="correct")
    assert ([row.label for row in late.rows()], late.unrated) == ([False], 30)
