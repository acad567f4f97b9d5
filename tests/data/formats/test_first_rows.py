"""What the first rows say of a source, and rows that do not fit it: the others keep what they mean."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.reading import (
    CHATS,
    JSON_CHAT,
    PAIR,
    TALK,
    TEXT,
    assistant,
    opened,
    read,
    refusal,
    system,
    user,
    written,
)


@pytest.mark.parametrize("form", ["conversational", "pair", "alpaca", "question"])
def test_what_comes_late_belongs_to_a_conversation(tmp_path: Path, form: str) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    more = {"system_prompt": "S", "history": [["a", "b"]], "tools": [tool]}
    _, rows = read(tmp_path, [*[CHATS[form]] * 20, {**CHATS[form], **more}])
    assert rows[0].prompt == [user("p")]
    assert rows[-1].prompt == [system("S"), user("a"), assistant("b"), user("p")]
    assert rows[-1].tools == [tool]


def test_an_input_that_comes_late_is_joined_where_all_rows_are_chats(tmp_path: Path) -> None:
    form = CHATS["question"]
    _, rows = read(tmp_path, [*[form] * 20, {**form, "input": "x"}])
    assert rows[-1].prompt == [user("p\nx")]
    form = {**CHATS["alpaca"], "instruction": [user("p")]}
    assert '"input" stands beside messages in "instruction"' in refusal(tmp_path, [{**form, "input": "x"}])


@pytest.mark.parametrize("name", ["rated.jsonl", "rated.csv", "rated.parquet"])
@pytest.mark.parametrize(
    ("form", "more", "said"),
    [
        (TEXT, {"tools": [{"name": "f"}]}, '"tools" belongs to a conversation, and the first rows are text'),
        (TEXT, {"chat_template_kwargs": {"a": 1}}, '"chat_template_kwargs" belongs to a conversation'),
        (TEXT, {"images": ["x.png"]}, '"images" holds more than text'),
        (TEXT, {"input": "x"}, '"input" belongs to the prompt, and the first rows have none; put a row'),
        (CHATS["pair"], {"input": "x"}, '"input" belongs to'),
        (TALK, {"history": [["a", "b"]]}, '"history" belongs to the conversation'),
        (
            {**TALK, "rejected_response": "d"},
            {"history": [["a", "b"]]},
            '"history" belongs to the conversation',
        ),
        (CHATS["openai"], {"history": [["a", "b"]]}, '"history" belongs to the conversation'),
        (PAIR, {"prompt": "REAL"}, '"prompt" belongs to the prompt'),
        (TALK, {"rejected_response": "d"}, '"rejected_response" is empty in the first rows'),
        (CHATS["alpaca"], {"messages": [user("REAL")]}, '"messages" is empty in the first rows'),
    ],
)
def test_what_comes_late_and_has_no_place_is_refused(
    tmp_path: Path, form: dict[str, Any], more: dict[str, Any], said: str, name: str
) -> None:
    """Columnar files are read by their columns: those that are only looked at are among them."""
    empty = dict.fromkeys(more)
    assert f"row 21: {said}" in refusal(tmp_path, [*[{**form, **empty}] * 20, {**form, **more}], name)


@pytest.mark.parametrize("asked", [0, 3, 18])
def test_what_is_asked_of_an_input_may_be_nothing(tmp_path: Path, asked: int) -> None:
    record = {"instruction": "Sum up", "input": "x", "output": "c", "kto_tag": True}
    _, rows = read(tmp_path, [*[record] * asked, *[{**record, "instruction": ""}] * (20 - asked), record])
    assert {str(row.prompt) for row in rows} <= {str([user("Sum up\nx")]), str([user("x")])}
    assert rows[-1].prompt == [user("Sum up\nx")]


@pytest.mark.parametrize("name", ["rated.jsonl", "rated.csv", "rated.parquet"])
@pytest.mark.parametrize("prompt", ["prompt", "question"])
def test_an_input_of_which_but_one_row_asks_something(tmp_path: Path, prompt: str, name: str) -> None:
    record = {prompt: None, "input": "x", "output": "c", "rating": 1}
    asking = [*[record] * 5, {**record, prompt: "Sum up"}]
    _, rows = read(tmp_path, [{**row, "system": "S"} for row in asking], name)
    assert [row.prompt for row in rows[-2:]] == [
        [system("S"), user("x")],
        [system("S"), user("Sum up\nx")],
    ]


def test_a_number_that_comes_late_is_no_conversation(tmp_path: Path) -> None:
    _, rows = read(tmp_path, [*[{**TEXT, "conversation": None}] * 20, {**TEXT, "conversation": 7}])
    assert len(rows) == 21


LATE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (TEXT, {"answer": "42"}),
    (TALK, {"chat": "name"}),
    (TALK, {"input": {"a": 1}}),
    ({"prompt": "p", "chosen": [assistant("a")], "rejected": [assistant("b")]}, {"question": "p"}),
]


@pytest.mark.parametrize(("record", "late"), LATE)
def test_what_comes_late_and_changes_nothing_is_listed(
    tmp_path: Path, record: dict[str, Any], late: dict[str, Any]
) -> None:
    (name,) = late
    records = [*[{**record, name: None}] * 20, *[{**record, **late}] * 2]
    source = opened(written(tmp_path, records))
    assert len(list(source.rows())) == 22 * (2 if "chosen" in record else 1)
    assert source.format.unread == (name,)


@pytest.mark.parametrize(
    "answer",
    [
        {"role": "assistant", "content": "a", "refusal": None, "annotations": []},
        {"from": "gpt", "value": "a"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {}}'},
    ],
)
@pytest.mark.parametrize("column", ["completion", "chosen"])
def test_one_message_in_a_table_is_read_beside_a_prompt_of_text(
    tmp_path: Path, answer: dict[str, Any], column: str
) -> None:
    rest = {"label": True} if column == "completion" else {"rejected": assistant("b")}
    records = [{"prompt": f"q{number}", column: answer, **rest} for number in range(3)]
    in_table, in_json = (read(tmp_path, records, name)[1] for name in ("rated.csv", "rated.jsonl"))
    assert [row.completion for row in in_table] == [row.completion for row in in_json]


def test_a_rating_that_comes_late_is_chosen_from(tmp_path: Path) -> None:
    first = {"question": "q", "answer": "a", "thumb": "up", "feedback": None}
    records = [*[first] * 20, {**first, "feedback": "Nice."}]
    assert refusal(tmp_path, records).endswith("or choose the rating with --label-column thumb")
    assert len(read(tmp_path, records, label="thumb")[1]) == 21


def test_a_prompt_that_comes_late_may_stand_in_the_conversation(tmp_path: Path) -> None:
    pair = {"chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")], "question": "q"}
    _, rows = read(tmp_path, [*[{**pair, "prompt": None}] * 20, {**pair, "prompt": "q"}])
    assert len(rows) == 42


@pytest.mark.parametrize("held", [True, False])
def test_an_input_is_joined_to_the_prompts_that_do_not_hold_it(tmp_path: Path, held: bool) -> None:
    """By each row: a blank at the end of one is no reason to have all others twice."""
    first = [{**TEXT, "prompt": "Do: cat", "input": "cat "}] * 20
    other = {**TEXT, "prompt": "Do", "input": "dog"}
    if held:
        assert '"input" belongs to the prompt' in refusal(tmp_path, [*first, other])
        assert read(tmp_path, first)[1][0].prompt == "Do: cat"
    else:
        _, rows = read(tmp_path, [other, *first])
        assert [rows[0].prompt, rows[1].prompt] == [[user("Do\ndog")], [user("Do: cat")]]


def test_messages_that_answer_late_are_refused_beside_an_answer(tmp_path: Path) -> None:
    asks = {"messages": [user("q")], "response": "r", "rating": 1}
    late = {**asks, "messages": [user("q"), assistant("r")]}
    assert (
        'row 21: the last message of "messages" is of role "assistant"; expected the prompt that'
        in refusal(tmp_path, [*[asks] * 20, late])
    )


def test_a_prompt_that_comes_late_and_is_not_in_the_conversation_is_refused(tmp_path: Path) -> None:
    whole = {"chosen": [user("q  r"), assistant("a")], "rejected": [user("q  r"), assistant("b")]}
    first = [{**whole, "prompt": " q r\n"}] * 20
    assert 'row 21: "prompt" is "OTHER", which is not in the conversation beside it' in refusal(
        tmp_path, [*first, {**whole, "prompt": "OTHER"}]
    )


EMPTY: list[Any] = [None, "", "[]", "null", [], {}]


@pytest.mark.parametrize("nothing", EMPTY)
@pytest.mark.parametrize(
    ("record", "columns", "form"),
    [
        (TALK, ("rejected_response", "tools", "prompt"), "messages (OpenAI, ms-swift)"),
        (
            {"instruction": "p", "output": "c", "kto_tag": True},
            ("chosen", "rejected"),
            "LLaMA-Factory alpaca",
        ),
        (
            {"question": "p", "answer": "c", "rating": 1},
            ("conversation", "messages"),
            "ratings (question, answer)",
        ),
        ({"conversations": [user("p")], **PAIR}, ("prompt", "instruction"), "LLaMA-Factory pairs"),
        ({"prompt": "p", "completion": "c", "rating": 1}, ("label",), "TRL unpaired, text, rated by rating"),
    ],
)
def test_columns_that_are_there_but_empty_say_nothing(
    tmp_path: Path, record: dict[str, Any], columns: tuple[str, ...], form: str, nothing: Any
) -> None:
    if nothing in ("[]", "null", {}) and "prompt" in columns:
        columns = columns[:1] if "tools" in columns else ("messages",)
    name, rows = read(tmp_path, [{**dict.fromkeys(columns, nothing), **record}] * 2)
    assert name.startswith(form)
    assert rows == read(tmp_path, [record] * 2)[1]


def test_an_odd_row_does_not_change_what_the_others_mean(tmp_path: Path) -> None:
    """Neither early nor late: it is the one that is wrong, and it is named."""
    forms: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        (
            TEXT,
            CHATS["conversational"],
            '"prompt" holds messages, and the first rows plain text; write all of',
        ),
        ({**PAIR, "prompt": "p"}, CHATS["pair"], '"prompt" holds messages, and the first rows plain text'),
        (
            CHATS["alpaca"],
            {"messages": [user("p")], "output": "c", "kto_tag": True},
            'no column "instruction"',
        ),
        (CHATS["alpaca"], {"instruction": "p", **PAIR}, 'no column "output"'),
        (CHATS["question"], {**TEXT}, 'no column "question"'),
    ]
    for form, odd, said in forms:
        rows = read(tmp_path, [form] * 2)[1]
        for number in (5, 25):
            bad: list[Any] = []
            records = [*[form] * number, odd, *[form] * (25 - number)]
            source = opened(written(tmp_path, records))
            found = list(source.rows(bad.append))
            assert {str(row.prompt) for row in found} == {str(row.prompt) for row in rows}
            assert [f"row {number + 1}: {said}" in str(error) for error in bad] == [True]


def test_a_prompt_in_one_row_of_conversations_changes_nothing(tmp_path: Path) -> None:
    whole = {"chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]}
    for name in ("rated.jsonl", "rated.parquet"):
        _, rows = read(tmp_path, [*[whole] * 5, {**whole, "prompt": "q"}, *[whole] * 5], name)
        assert {str(row.prompt) for row in rows} == {str([user("q")])}
        assert len(rows) == 22


CUT = [json.dumps([user("p")])[:-9], '[{"role": "cus', "["]


@pytest.mark.parametrize("column", ["prompt", "completion", "rejected"])
@pytest.mark.parametrize("cut", CUT)
@pytest.mark.parametrize("at", [5, 25])
def test_messages_that_were_cut_short_are_refused(tmp_path: Path, column: str, cut: str, at: int) -> None:
    """As Excel cuts a cell at 32,767 characters."""
    record = CHATS["pair" if column == "rejected" else "conversational"]
    records = [*[record] * at, {**record, column: cut}, *[record] * (26 - at)]
    said = refusal(tmp_path, records, "rated.csv")
    if column == "prompt" or at > 20:
        assert f'row {at + 1}: "{column}" begins like messages in JSON and is none (cut short?)' in said
    else:
        assert f'"{column}" holds messages as JSON text in 19 of the first 20 rows' in said


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ([{"role": "customer", "content": "p"}], [{"role": "customer", "content": "p"}]),
        ([{"type": "human", "content": "p"}], [user("p")]),
        (
            [{"human": "a", "assistant": "b"}, {"role": "User", "content": "p"}],
            [user("a"), assistant("b"), user("p")],
        ),
        ({"from": "human", "value": "p"}, [user("p")]),
    ],
)
def test_tables_hold_all_messages_that_json_lines_hold(tmp_path: Path, prompt: Any, expected: Any) -> None:
    record = {**CHATS["conversational"], "prompt": prompt}
    for name in ("rated.jsonl", "rated.csv"):
        assert [row.prompt for row in read(tmp_path, [record] * 3, name)[1]] == [expected] * 3


@pytest.mark.parametrize("answer", [assistant("c"), {"from": "gpt", "value": "c"}])
def test_answers_of_one_object_are_read_from_tables(tmp_path: Path, answer: Any) -> None:
    record = {**CHATS["conversational"], "completion": answer}
    for name in ("rated.jsonl", "rated.csv"):
        assert read(tmp_path, [record] * 3, name)[1][0].completion == [assistant("c")]
    chance = [{**TEXT, "completion": json.dumps(answer)}, TEXT, TEXT]
    assert read(tmp_path, chance)[1][0].completion == json.dumps(answer)


def test_an_empty_list_in_a_table_is_no_question(tmp_path: Path) -> None:
    records = [{"messages": [user("p")], "response": "c", "rating": 1}] * 3
    for name in ("rated.jsonl", "rated.csv"):
        message = refusal(tmp_path, [*records, {**records[0], "messages": []}], name)
        assert 'row 4: "messages" is' in message


def test_one_answer_that_looks_like_a_chat_is_text_among_text(tmp_path: Path) -> None:
    chance = {**TEXT, "completion": JSON_CHAT}
    name, rows = read(tmp_path, [chance, *[TEXT] * 25, chance])
    assert name == "TRL unpaired, text"
    assert [rows[0].completion, rows[-1].completion] == [JSON_CHAT, JSON_CHAT]
    pair = {"prompt": "p", "chosen": "c", "rejected": "d"}
    _, rows = read(tmp_path, [{**pair, "rejected": JSON_CHAT}, pair, pair])
    assert (rows[1].prompt, rows[1].completion) == ("p", JSON_CHAT)
    export = {"fields": {"prompt": "p", "response": "c"}, "responses": {"good": [{"value": "yes"}]}}
    odd = {**export, "fields": {"prompt": "p", "response": JSON_CHAT}}
    assert read(tmp_path, [export, odd, export])[1][1].completion == [assistant(JSON_CHAT)]


def test_answers_of_which_most_are_chats_are_all_chats_or_refused(tmp_path: Path) -> None:
    chat = {**TEXT, "completion": JSON_CHAT}
    _, rows = read(tmp_path, [*[chat] * 20, TEXT])
    assert [rows[0].completion, rows[-1].completion] == [[assistant("x")], [assistant("c")]]
    assert rows[-1].prompt == [user("p")]
    assert refusal(tmp_path, [*[chat] * 15, *[TEXT] * 5]) == (
        'rated.jsonl: "completion" holds messages as JSON text in 15 of the first 20 rows, and other text in'
        " the rest; write all of them as messages, or none"
    )


def test_a_prompt_that_is_a_chat_among_text_is_refused(tmp_path: Path) -> None:
    late = {**TEXT, "prompt": json.dumps([user("p")])}
    assert 'row 21: "prompt" holds messages as JSON text, and the first rows plain text' in refusal(
        tmp_path, [*[TEXT] * 20, late]
    )
