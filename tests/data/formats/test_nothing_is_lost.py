"""What belongs to a prompt reaches it, or is refused: also where the first rows do not show it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.formats.reading import (
    CHATS,
    PAIR,
    TEXT,
    assistant,
    opened,
    read,
    refusal,
    system,
    user,
    written,
)

GOOD: dict[str, Any] = {"label": True}


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


@pytest.mark.parametrize("name", ["rated.jsonl", "rated.csv"])
def test_an_input_beside_messages_is_not_read(tmp_path: Path, name: str) -> None:
    source = opened(written(tmp_path, [{**CHATS["conversational"], "input": "x"}] * 3, name))
    assert source.format.unread == ("input",)
    assert [row.prompt for row in source.rows()] == [[user("p")]] * 3


TALKS = ([user("h"), assistant("i")], [["h", "i"]])


@pytest.mark.parametrize("history", TALKS)
@pytest.mark.parametrize("before", [[], [system("S")]])
@pytest.mark.parametrize(
    "form", [{"messages": "asked", "response": "c"}, {"prompt": "asked", "completion": "c"}]
)
def test_a_history_is_read_once_and_behind_the_system_prompt(
    tmp_path: Path, form: dict[str, Any], before: list[Any], history: Any
) -> None:
    (asks,) = (name for name, value in form.items() if value == "asked")
    for asked in ([*before, user("q")], [*before, *TALKS[0], user("q")]):
        record = {**form, asks: asked, "history": history, "label": True}
        assert read(tmp_path, [record])[1][0].prompt == [*before, *TALKS[0], user("q")]


@pytest.mark.parametrize("role", ["developer", "tool", "critic"])
def test_an_answer_begins_with_the_model_or_with_the_prompt(tmp_path: Path, role: str) -> None:
    whole = [{"role": role, "content": "d"}, user("p"), assistant("c")]
    record = {**CHATS["conversational"], "completion": whole}
    if role == "developer":
        _, (row,) = read(tmp_path, [record])
        assert (row.prompt, row.completion) == (whole[:2], whole[2:])
    else:
        assert f'begins with a message of role "{role}" that is not the prompt' in refusal(tmp_path, [record])


@pytest.mark.parametrize(
    "record",
    [
        {"system": "S", "input": {"messages": [system("T"), user("q")]}},
        {"input": {"messages": [system("T"), user("q")], "system": "S"}},
        {"input": {"messages": [user("q")], "tools": [{"name": "f"}]}, "tools": [{"name": "g"}]},
    ],
)
def test_two_system_prompts_or_tools_of_a_preference_are_refused(
    tmp_path: Path, record: dict[str, Any]
) -> None:
    answers = {"preferred_output": [assistant("a")], "non_preferred_output": [assistant("b")]}
    assert "leave one out" in refusal(tmp_path, [{**record, **answers}])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("reasoning_details", [{"type": "reasoning.text", "text": "t"}]),
        ("thinking_blocks", [{"thinking": "t"}]),
        ("reasoning", {"content": "t"}),
        ("weight", 1),
    ],
)
def test_what_messages_hold_and_no_template_is_given_is_known(tmp_path: Path, key: str, value: Any) -> None:
    talk = {"messages": [user("p"), {**assistant("c"), key: value}], "label": True}
    assert opened(written(tmp_path, [talk])).format.unread == (f"messages[].{key}",)
    asked = {"messages": [{**user("p"), key: value}]}
    pair = {"input": asked, "preferred_output": [assistant("a")], "non_preferred_output": [assistant("b")]}
    assert opened(written(tmp_path, [pair])).format.unread == (f"input[].{key}",)


def test_a_system_prompt_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    record = {**TEXT, "system": "[Be brief]"}
    assert read(tmp_path, [record])[1][0].prompt[0] == system("[Be brief]")
    record["system"] = '[{"type": "text", "text": "S'
    assert '"system" is "[{' in refusal(tmp_path, [record])


@pytest.mark.parametrize("turns", ["\n\nHuman: hi\n\nAssistant:", "Human: hi\nAssistant:"])
def test_answers_that_repeat_the_turns_of_their_prompt_are_cut(tmp_path: Path, turns: str) -> None:
    _, (row,) = read(tmp_path, [{"prompt": turns, "completion": f"{turns} a", "label": True}])
    assert (row.prompt, row.completion) == (turns, " a")
    _, rows = read(tmp_path, [{"prompt": turns, "chosen": f"{turns} a", "rejected": f"{turns} b"}])
    assert [row.completion for row in rows] == [" a", " b"]


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


@pytest.mark.parametrize(
    ("asked", "given", "held"),
    [
        ("Translate this word into German.", "man", False),
        ("Add 3 and 0.", "3", False),
        ("Do: man.", "man", True),
        ("This:\nman\nTranslate it.", "man", True),
        ("Sum up: a text of many words. Be brief.", "a text of many words", True),
    ],
)
def test_an_input_is_dropped_only_where_the_prompt_holds_it(
    tmp_path: Path, asked: str, given: str, held: bool
) -> None:
    first = {**TEXT, "prompt": "Do", "input": "dog"}
    _, (_, row) = read(tmp_path, [first, {**TEXT, "prompt": asked, "input": given}])
    assert row.prompt == [user(asked if held else f"{asked}\n{given}")]


HELLO = [assistant("Hello!"), user("q")]


@pytest.mark.parametrize("prompt", [HELLO, [system("s"), *HELLO]])
@pytest.mark.parametrize(
    "answers",
    [{"completion": [*HELLO, assistant("a")]}, {"chosen": [*HELLO, assistant("a")], "rejected": "b"}],
)
def test_a_conversation_that_the_model_opens_is_cut_to_the_answer(
    tmp_path: Path, prompt: list[Any], answers: dict[str, Any]
) -> None:
    _, (row, *_) = read(tmp_path, [{"prompt": prompt, **answers, **GOOD}])
    assert (row.prompt, row.completion) == (prompt, [assistant("a")])


def test_a_question_that_the_answer_repeats_is_refused(tmp_path: Path) -> None:
    record = {"prompt": "q", "completion": [*HELLO, assistant("a")], **GOOD}
    assert '"completion" repeats the last question of the prompt' in refusal(tmp_path, [record])


def test_answers_of_several_turns_stay_whole(tmp_path: Path) -> None:
    said = [assistant("a"), user("r"), assistant("b"), user("q"), assistant("c")]
    _, (row,) = read(tmp_path, [{"prompt": [user("q")], "completion": said, **GOOD}])
    assert row.completion == said


@pytest.mark.parametrize("before", [[user("q")], [["q", "a"]]])
def test_no_prompt_is_made_up_beside_a_conversation(tmp_path: Path, before: Any) -> None:
    assert "found trajectory beside chosen and rejected; choose the prompt" in refusal(
        tmp_path, [{**PAIR, "trajectory": before}]
    )


@pytest.mark.parametrize(
    "record",
    [
        {"query": "q", "response": "a", "history": [["h", "k"], ["q", "a"]]},
        {
            "input": {"input": "q", "chat_history": [user("h"), assistant("k"), user("q"), assistant("a")]},
            "output": {"output": "a"},
        },
    ],
)
def test_a_history_that_holds_the_answer_does_not_give_it_away(tmp_path: Path, record: Any) -> None:
    _, (row,) = read(tmp_path, [{**record, "feedback": True}])
    assert (row.prompt, row.completion) == ([user("h"), assistant("k"), user("q")], [assistant("a")])


def test_a_question_may_be_asked_again(tmp_path: Path) -> None:
    talk = [user("q"), assistant("a"), user("q")]
    _, (row,) = read(tmp_path, [{"prompt": talk, "completion": [assistant("a")], **GOOD}])
    assert row.prompt == talk


def test_system_prompts_that_differ_by_blanks_are_one(tmp_path: Path) -> None:
    _, (row,) = read(tmp_path, [{**TEXT, "system": "S", "system_prompt": "S "}])
    assert row.prompt == [system("S"), user("p")]


def test_numbers_beside_a_pair_are_no_prompt(tmp_path: Path) -> None:
    _, rows = read(tmp_path, [{**PAIR, "vectors": [[0.5, 1]], "tags": ["x"]}])
    assert [row.prompt for row in rows] == ["The", "The"]
