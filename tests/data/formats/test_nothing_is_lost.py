"""What belongs to a prompt reaches it, or is refused: also where the first rows do not show it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.reading import assistant, opened, read, refusal, system, user, written

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


TEXT: dict[str, Any] = {"prompt": "p", "completion": "c", "label": True}
TALK: dict[str, Any] = {"messages": [user("p"), assistant("c")], "label": True}
JSON_CHAT = json.dumps([assistant("x")])


@pytest.mark.parametrize("names", [("system", "system_prompt"), ("history", "chat_history")])
def test_two_columns_for_one_thing_are_refused_where_they_differ(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    one, other = ("A", "B") if names[0] == "system" else ([["a", "b"]], [["c", "d"]])
    assert refusal(tmp_path, [{**TEXT, names[0]: one, names[1]: other}]) == (
        f'rated.jsonl, row 1: "{names[0]}" and "{names[1]}" hold different things, and one of them is read;'
        " leave one empty, or write them as one"
    )
    for nothing in (one, "", " ", None):
        _, (row,) = read(tmp_path, [{**TEXT, names[0]: nothing, names[1]: one}])
        assert row.prompt == read(tmp_path, [{**TEXT, names[0]: one}])[1][0].prompt != [user("p")]


def test_a_system_prompt_that_messages_overrule_is_known_to_be_unread(tmp_path: Path) -> None:
    talk = {"messages": [system("inner"), *TALK["messages"]], "label": True}
    assert opened(written(tmp_path, [{**talk, "system": "outer"}])).format.unread == ("system",)
    assert opened(written(tmp_path, [{**talk, "system": "inner"}])).format.unread == ()


CHATS: dict[str, dict[str, Any]] = {
    "conversational": {"prompt": [user("p")], "completion": [assistant("c")], "label": True},
    "pair": {"prompt": [user("p")], "chosen": [assistant("c")], "rejected": [assistant("d")]},
    "alpaca": {"instruction": "p", "output": "c", "kto_tag": True},
    "question": {"question": "p", "completion": "c", "label": True},
}


@pytest.mark.parametrize("form", CHATS)
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


@pytest.mark.parametrize(
    ("form", "more", "said"),
    [
        (TEXT, {"tools": [{"name": "f"}]}, '"tools" belongs to a conversation, and the first rows are text'),
        (TEXT, {"chat_template_kwargs": {"a": 1}}, '"chat_template_kwargs" belongs to a conversation'),
        (TEXT, {"images": ["x.png"]}, '"images" holds more than text'),
        (TEXT, {"input": "x"}, '"input" belongs to a conversation, and the first rows have none; put a row'),
        (CHATS["pair"], {"input": "x"}, '"input" belongs to'),
        (TALK, {"history": [["a", "b"]]}, '"history" belongs to a conversation'),
    ],
)
def test_what_comes_late_and_has_no_place_is_refused(
    tmp_path: Path, form: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    empty = dict.fromkeys(more)
    assert f"row 21: {said}" in refusal(tmp_path, [*[{**form, **empty}] * 20, {**form, **more}])


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


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "q", "output_A": "a", "output_B": "b", "label": 1},
        {"input": {"messages": [user("q")]}, "preferred_output": "a", "non_preferred_output": "b"},
    ],
)
def test_pictures_beside_a_preference_are_refused(tmp_path: Path, record: dict[str, Any]) -> None:
    assert '"images" holds more than text' in refusal(tmp_path, [{**record, "images": ["x.png"]}])


def test_messages_by_column_of_different_lengths_are_refused(tmp_path: Path) -> None:
    talk = {"role": ["user", "assistant", "user"], "content": ["a", "b"]}
    assert '"messages" is an object; expected a list of messages' in refusal(
        tmp_path, [{"messages": talk, "label": True}]
    )


def test_the_answer_of_an_export_is_cut_to_the_answer(tmp_path: Path) -> None:
    fields = {"prompt": "q", "response": [user("q"), assistant("a")]}
    _, (row,) = read(tmp_path, [{"fields": fields, "responses": {"good": [{"value": "yes"}]}}])
    assert (row.prompt, row.completion) == ([user("q")], [assistant("a")])


@pytest.mark.parametrize(("outer", "inner"), [(["S"], []), ([], ["S"]), (["S"], ["S"])])
def test_a_system_prompt_of_prompt_or_answer_counts(
    tmp_path: Path, outer: list[str], inner: list[str]
) -> None:
    talk = [user("a"), assistant("b"), user("q")]
    record = {
        "prompt": [*map(system, outer), *talk],
        "completion": [*map(system, inner), *talk, assistant("c")],
    }
    _, (row,) = read(tmp_path, [{**record, **GOOD}])
    assert (row.prompt, row.completion) == ([system("S"), *talk], [assistant("c")])
    record["completion"] = [system("T"), *talk, assistant("c")]
    if outer:
        assert "that is not the prompt" in refusal(tmp_path, [{**record, **GOOD}])
