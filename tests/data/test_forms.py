"""The forms in which rated rows come."""

import json
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.errors import UserError
from kto_tui.data import Columns, Row, load_rows

USER = {"role": "user", "content": "Hi?"}
ANSWER = {"role": "assistant", "content": "Hello."}


def read(tmp_path: Path, record: Any, columns: Columns | None = None) -> Row:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    (row,) = load_rows(str(path), columns or Columns())
    return row


def refusal(tmp_path: Path, record: Any, columns: Columns | None = None) -> str:
    with pytest.raises(UserError) as error:
        read(tmp_path, record, columns)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{tmp_path}/train.jsonl, row 1")
    return message.removeprefix(f"{tmp_path}/train.jsonl, row 1")


def test_text(tmp_path: Path) -> None:
    row = read(tmp_path, {"prompt": "Hi?", "completion": " Hello.", "label": 1})
    assert row == Row("Hi?", " Hello.", True, f"{tmp_path}/train.jsonl, row 1")


@pytest.mark.parametrize("prompt", ["Hi?", [USER]])
@pytest.mark.parametrize("completion", ["Hello.", [ANSWER]])
def test_what_is_not_text_alone_becomes_messages(tmp_path: Path, prompt: Any, completion: Any) -> None:
    row = read(tmp_path, {"prompt": prompt, "completion": completion, "label": False})
    if isinstance(prompt, str) and isinstance(completion, str):
        assert (row.prompt, row.completion) == ("Hi?", "Hello.")
    else:
        assert (row.prompt, row.completion) == ([USER], [ANSWER])


def test_conversation_ends_with_the_rated_answer(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": ""}, USER, ANSWER, USER, {**ANSWER, "content": "Again."}]
    row = read(tmp_path, {"messages": talk, "label": "👎"})
    assert (row.prompt, row.completion, row.label) == (talk[:-1], talk[-1:], False)


def test_keys_of_messages_that_no_template_knows_are_left_out(tmp_path: Path) -> None:
    talk = [{**USER, "name": "Ann", "id": "7f"}, {**ANSWER, "weight": None}]
    row = read(tmp_path, {"messages": talk, "label": True})
    assert (row.prompt, row.completion) == ([{**USER, "name": "Ann"}], [ANSWER])


def test_columns_by_other_names(tmp_path: Path) -> None:
    columns = Columns("question", "answer", "rating")
    row = read(tmp_path, {"question": "Hi?", "answer": "Hello.", "rating": "no", "prompt": 3}, columns)
    assert (row.prompt, row.completion, row.label) == ("Hi?", "Hello.", False)


def test_one_named_column_leaves_conversations_as_they_are(tmp_path: Path) -> None:
    row = read(tmp_path, {"messages": [USER, ANSWER], "label": True}, Columns(prompt="question"))
    assert (row.prompt, row.completion) == ([USER], [ANSWER])


def test_label_that_says_neither(tmp_path: Path) -> None:
    assert refusal(tmp_path, {"prompt": "a", "completion": "b", "label": "maybe"}) == (
        ': "label" is "maybe"; expected true/false, 0/1, yes/no (choose the column with --label-column)'
    )


def test_label_is_shown_short_and_harmless(tmp_path: Path) -> None:
    message = refusal(tmp_path, {"prompt": "a", "completion": "b", "label": "\x1b[31m\u2028\x9b" + "x" * 500})
    assert message.isprintable()
    assert len(message) < 200


@pytest.mark.parametrize(
    ("missing", "option"),
    [("prompt", "--prompt-column"), ("completion", "--completion-column"), ("label", "--label-column")],
)
def test_missing_column_names_those_that_are_there(tmp_path: Path, missing: str, option: str) -> None:
    record = {"id": 7, "prompt": "a", "completion": "b", "label": True}
    del record[missing]
    found = ", ".join(record)
    message = refusal(tmp_path, record)
    assert message.startswith(f': no column "{missing}"; found {found} (choose one with {option}); known for')


def test_many_columns_are_not_all_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, {f"column_{n}": n for n in range(40)})
    assert "column_11 and 28 more" in message


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("text", 'found "text"; expected an object with prompt, completion and label'),
        ({"prompt": 5, "completion": "b", "label": 1}, '"prompt" is 5; expected text, or a list of messages'),
        ({"prompt": "a", "completion": None, "label": 1}, '"completion" is null; expected text'),
        ({"prompt": "a", "completion": [], "label": 1}, '"completion" is an empty list'),
        ({"prompt": [], "completion": "b", "label": 1}, '"prompt" is an empty list'),
        ({"messages": "Hi", "label": 1}, '"messages" is "Hi"; expected a list of messages'),
        ({"prompt": "a", "completion": " \n", "label": 1}, '"completion" is empty; fill it in'),
        ({"prompt": "", "completion": "b", "label": 1}, '"prompt" is empty'),
        ({"messages": [USER, {**ANSWER, "content": ""}], "label": 1}, 'the answer in "messages" is empty'),
        ({"messages": [{**USER, "content": ""}, ANSWER], "label": 1}, 'the prompt in "messages" is empty'),
        (
            {"messages": [ANSWER], "label": 1},
            '"messages" holds the answer alone; expected its prompt before it',
        ),
        ({"messages": [ANSWER, USER], "label": 1}, 'the last message of "messages" is of role "user"'),
        ({"prompt": "a", "completion": [USER], "label": 1}, 'the last message of "completion" is of role'),
        ({"prompt": "a\0", "completion": "b", "label": 1}, '"prompt" holds a NUL character'),
        ({"prompt": "a", "completion": "\ud83d", "label": 1}, '"completion" holds half of a surrogate pair'),
    ],
)
def test_rows_that_cannot_be_trained_on(tmp_path: Path, record: Any, expected: str) -> None:
    assert refusal(tmp_path, record).startswith(f": {expected}")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"by": "gpt", "value": "x"}, "no role; found by, value; expected role and content"),
        ({"from": "gpt", "content": "x"}, "no value; found from, content; expected from and value"),
        ({"role": "assistant"}, "no content; found role"),
        ({"role": "assistant", "content": None}, "content is null; expected text"),
        ("Hello", 'found "Hello"; expected an object with role and content'),
    ],
)
def test_messages_that_are_none(tmp_path: Path, message: Any, expected: str) -> None:
    found = refusal(tmp_path, {"messages": [USER, message], "label": 1})
    assert found.startswith(f', message 2 of "messages": {expected}')
