"""Unpaired and paired preferences as TRL's documentation has them."""

import json
from pathlib import Path
from typing import Any

import pytest

from kto_tui.data.rows import Row
from tests.data.formats.reading import assistant, opened, read, refusal, system, user, written

SKY = user("What color is the sky?")
BLUE, GREEN = assistant("It is blue."), assistant("It is green.")


def test_unpaired_text(tmp_path: Path) -> None:
    records = [
        {"prompt": "The sky is", "completion": " blue.", "label": True},
        {"prompt": "The sun is", "completion": " in the sky.", "label": False},
    ]
    name, rows = read(tmp_path, records)
    assert name == "TRL unpaired, text"
    assert [(row.prompt, row.completion, row.label) for row in rows] == [tuple(r.values()) for r in records]


def test_unpaired_conversational(tmp_path: Path) -> None:
    name, rows = read(tmp_path, [{"prompt": [SKY], "completion": [GREEN], "label": False}])
    assert name == "TRL unpaired, conversational"
    assert (rows[0].prompt, rows[0].completion, rows[0].label) == ([SKY], [GREEN], False)


def both(rows: list[Row]) -> tuple[Any, Any, Any]:
    """Prompt, better and worse answer of a pair."""
    better, worse = rows
    assert (better.label, worse.label) == (True, False)
    assert (better.prompt, better.where) == (worse.prompt, worse.where)
    return better.prompt, better.completion, worse.completion


def test_paired_text(tmp_path: Path) -> None:
    name, rows = read(tmp_path, [{"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}])
    assert name == "TRL paired, text"
    assert both(rows) == ("The sky is", " blue.", " green.")


def test_paired_conversational(tmp_path: Path) -> None:
    name, rows = read(tmp_path, [{"prompt": [SKY], "chosen": [BLUE], "rejected": [GREEN]}])
    assert name == "TRL paired, conversational"
    assert both(rows) == ([SKY], [BLUE], [GREEN])


def test_implicit_prompt_of_text_ends_where_a_word_differs(tmp_path: Path) -> None:
    name, rows = read(tmp_path, [{"chosen": "The sky is blue.", "rejected": "The sky is black."}])
    assert name == "TRL paired, implicit prompt, text"
    assert both(rows) == ("The sky is", " blue.", " black.")


def test_implicit_prompt_of_hh_ends_with_the_last_turn(tmp_path: Path) -> None:
    """Anthropic's HH: both answers may begin alike, and are still whole."""
    asked = "\n\nHuman: Is it blue?\n\nAssistant: What?\n\nHuman: The sky.\n\nAssistant:"
    record = {"chosen": f"{asked} It is, by day.", "rejected": f"{asked} It is not."}
    _, rows = read(tmp_path, [record])
    assert both(rows) == (asked, " It is, by day.", " It is not.")


def test_implicit_prompt_of_conversations(tmp_path: Path) -> None:
    talk = [system("Be brief."), SKY]
    name, rows = read(tmp_path, [{"chosen": [*talk, BLUE], "rejected": [*talk, GREEN]}])
    assert name == "TRL paired, implicit prompt, conversational"
    assert both(rows) == (talk, [BLUE], [GREEN])


def test_ultrafeedback_has_the_prompt_twice(tmp_path: Path) -> None:
    record = {
        "prompt": SKY["content"],
        "prompt_id": "f0e37e9f7800261167ce91143f98f511f768847236f133f2d0aed60b444ebe57",
        "chosen": [SKY, BLUE],
        "rejected": [SKY, GREEN],
        "messages": [SKY, BLUE],
        "score_chosen": 8.5,
        "score_rejected": 4.0,
    }
    _, rows = read(tmp_path, [record])
    assert both(rows) == ([SKY], [BLUE], [GREEN])


def test_orca_pairs_have_a_system_prompt(tmp_path: Path) -> None:
    record = {"system": "You explain.", "question": "Why blue?", "chosen": "Rayleigh.", "rejected": "Paint."}
    _, rows = read(tmp_path, [record])
    assert both(rows) == (
        [system("You explain."), user("Why blue?")],
        [assistant("Rayleigh.")],
        [assistant("Paint.")],
    )


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"chosen": "Blue.", "rejected": "Green."}, '"chosen" and "rejected" do not begin alike'),
        ({"chosen": [SKY, BLUE], "rejected": [user("Hm?"), GREEN]}, "do not begin alike"),
        (
            {"chosen": [system("S"), SKY, BLUE], "rejected": [system("S"), user("Hm?"), GREEN]},
            '"chosen" and "rejected" do not begin alike, and differ in a message of role "user"',
        ),
        ({"chosen": [BLUE, SKY, BLUE], "rejected": [BLUE, user("Hm?"), GREEN]}, "do not begin alike"),
        (
            {
                "prompt": [system("A"), SKY],
                "chosen": [system("B"), SKY, BLUE],
                "rejected": [system("B"), SKY, GREEN],
            },
            'begin with is not that of "prompt"',
        ),
        (
            {"prompt": "a", "chosen": "b", "rejected": ["c", "d"]},
            '"rejected" is a list of text; expected one text',
        ),
        ({"prompt": "a", "chosen": "b", "rejected": ""}, '"rejected" is empty'),
        ({"prompt": "a", "chosen": "b", "rejected": None}, '"rejected" is null; expected text'),
        ({"prompt": [SKY], "chosen": [BLUE], "rejected": [SKY]}, 'the last message of "rejected" is of role'),
    ],
)
def test_pairs_that_are_none(tmp_path: Path, record: Any, expected: str) -> None:
    message = refusal(tmp_path, [record])
    assert message.startswith("rated.jsonl, row 1: ")
    assert expected in message


def test_both_rows_of_a_pair_lie_together(tmp_path: Path) -> None:
    records = [{"prompt": f"{n}?", "chosen": "good", "rejected": "bad"} for n in range(3)]
    _, rows = read(tmp_path, records)
    assert [(row.prompt, row.label) for row in rows] == [
        (f"{n}?", label) for n in range(3) for label in (True, False)
    ]


@pytest.mark.parametrize(
    "record",
    [
        {"chosen": "The sky is", "rejected": "The sky is"},
        {"prompt": "The sky", "chosen": "is", "rejected": "is"},
        {"chosen": [SKY, BLUE], "rejected": [SKY, BLUE]},
        {"prompt": [SKY], "chosen": [BLUE], "rejected": [BLUE]},
    ],
)
def test_a_pair_of_one_answer_contradicts_itself(tmp_path: Path, record: Any) -> None:
    source = opened(written(tmp_path, [record]))
    assert list(source.rows()) == []
    assert source.tied == 1


def test_implicit_prompt_keeps_its_last_line_break(tmp_path: Path) -> None:
    _, rows = read(tmp_path, [{"chosen": "Q: Blue?\nyes", "rejected": "Q: Blue?\nno"}])
    assert both(rows) == ("Q: Blue?\n", "yes", "no")


PAIR = {"chosen": "The answer is yes.", "rejected": "The answer is no."}


@pytest.mark.parametrize(
    ("record", "prompt"),
    [
        ({"system": "Be brief.", "input": "Blue?"}, [system("Be brief."), user("Blue?")]),
        ({"system_prompt": "Be brief.", "question": "Blue?"}, [system("Be brief."), user("Blue?")]),
        ({"messages": [SKY]}, [SKY]),
        ({"prompt": "Translate:", "input": "blue"}, [user("Translate:\nblue")]),
        (
            {"prompt": "More?", "history": [["Blue?", "Yes."]]},
            [user("Blue?"), assistant("Yes."), user("More?")],
        ),
        ({"prompt": "Translate: blue", "input": "blue"}, "Translate: blue"),
        ({"source": "forum", "item_id": "7"}, "The answer is"),
    ],
)
def test_prompts_of_pairs(tmp_path: Path, record: Any, prompt: Any) -> None:
    _, rows = read(tmp_path, [{**record, **PAIR}])
    assert rows[0].prompt == rows[1].prompt == prompt


def test_no_prompt_is_made_up_beside_other_text(tmp_path: Path) -> None:
    records = [{"task": "Is it?", **PAIR}]
    assert refusal(tmp_path, records) == (
        "rated.jsonl: found task beside chosen and rejected; choose the prompt with --prompt-column,"
        " or --prompt-column chosen if both answers begin with it"
    )
    assert both(read(tmp_path, records, prompt="task")[1])[0] == "Is it?"
    assert both(read(tmp_path, records, prompt="chosen")[1])[0] == "The answer is"
    _, rows = read(tmp_path, [{"margin": "0.5", "safe": "True", **PAIR}], "rated.csv")
    assert both(rows)[0] == "The answer is"
    hh = {name: f"\n\nHuman: Hi\n\nAssistant: {name}" for name in PAIR}
    assert both(read(tmp_path, [{"task": "x", **hh}])[1])[0] == "\n\nHuman: Hi\n\nAssistant:"


def test_messages_that_hold_an_answer_are_no_prompt(tmp_path: Path) -> None:
    message = refusal(tmp_path, [{"messages": [SKY, BLUE], **PAIR}])
    assert 'the last message of "messages" is of role "assistant"; expected the prompt' in message


def test_a_system_prompt_of_either_column_counts(tmp_path: Path) -> None:
    brief = system("Be brief.")
    record = {"prompt": [brief, SKY], "chosen": [SKY, BLUE], "rejected": [SKY, GREEN]}
    assert both(read(tmp_path, [record])[1]) == ([brief, SKY], [BLUE], [GREEN])


def test_a_prompt_that_is_named_wins_over_the_conversations(tmp_path: Path) -> None:
    record = {"mine": "Which?", "chosen": [SKY, BLUE], "rejected": [SKY, GREEN]}
    assert both(read(tmp_path, [record], prompt="mine")[1]) == ([user("Which?")], [BLUE], [GREEN])
    brief = system("Be brief.")
    record = {"mine": "Which?", "chosen": [brief, SKY, BLUE], "rejected": [brief, SKY, GREEN]}
    assert both(read(tmp_path, [record], prompt="mine")[1])[0] == [brief, user("Which?")]
    record["mine"] = [system("Be long."), user("Which?")]
    assert "begin with another system prompt than" in refusal(tmp_path, [record], prompt="mine")


@pytest.mark.parametrize("name", ["rated.jsonl", "rated.csv"])
def test_messages_in_json_text(tmp_path: Path, name: str) -> None:
    def text(*talk: Any) -> str:
        return json.dumps(list(talk))

    form, rows = read(tmp_path, [{"prompt": text(SKY), "completion": text(GREEN), "label": "no"}], name)
    assert form == "TRL unpaired, conversational"
    assert (rows[0].prompt, rows[0].completion) == ([SKY], [GREEN])
    pair = {"chosen": text(BLUE), "rejected": text(GREEN)}
    assert both(read(tmp_path, [{"prompt": text(SKY), **pair}], name)[1]) == ([SKY], [BLUE], [GREEN])
    assert both(read(tmp_path, [{"prompt": "Sky?", **pair}], name)[1]) == ([user("Sky?")], [BLUE], [GREEN])
    whole = {"chosen": text(SKY, BLUE), "rejected": text(SKY, GREEN)}
    assert both(read(tmp_path, [whole], name)[1]) == ([SKY], [BLUE], [GREEN])
    answer = '[{"role": "admin", "id": 3}]'
    assert read(tmp_path, [{"prompt": "List:", "completion": answer, "label": 1}])[1][0].completion == answer


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": str([SKY]), "completion": str([BLUE]), "label": True},
        {"messages": str([SKY, BLUE]), "label": True},
        {"chosen": str([SKY, BLUE]), "rejected": str([SKY, GREEN])},
    ],
)
def test_messages_as_python_prints_them(tmp_path: Path, record: Any) -> None:
    message = refusal(tmp_path, [record])
    assert "holds messages as Python prints them; expected JSON (save the data set as .jsonl" in message


FORMS: dict[str, Any] = {
    "text": {"prompt": "a", "completion": "b", "label": True},
    "pair": {"prompt": "a", "chosen": "b", "rejected": "c"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("more", [{"system": "Be brief."}, {"history": [["a", "b"]]}])
def test_what_comes_late_is_not_lost(tmp_path: Path, form: str, more: Any) -> None:
    (name,) = more
    message = refusal(tmp_path, [FORMS[form]] * 20 + [{**FORMS[form], **more}])
    assert message.startswith(f'rated.jsonl, row 21: "{name}" belongs to a conversation, and the first rows')
    _, rows = read(
        tmp_path, [{**FORMS[form], name: ""}] * 20 + [{**FORMS[form], **more}] * (name == "system")
    )
    assert len(rows) == (20 + (name == "system")) * (2 if form == "pair" else 1)


def test_options_of_the_template_are_refused(tmp_path: Path) -> None:
    record = {"messages": [SKY, BLUE], "label": True, "chat_template_kwargs": {"enable_thinking": False}}
    assert refusal(tmp_path, [record]) == (
        'rated.jsonl, row 1: "chat_template_kwargs" holds enable_thinking, which no row is trained with;'
        " remove the column"
    )
    read(tmp_path, [{**record, "chat_template_kwargs": {"enable_thinking": None}}])
    text = json.dumps(record["chat_template_kwargs"])
    assert "which no row is trained with" in refusal(tmp_path, [{**record, "chat_template_kwargs": text}])
    plain = {"prompt": "a", "completion": "b", "label": 1, "chat_template_kwargs": text}
    assert opened(written(tmp_path, [plain])).format.unread == ("chat_template_kwargs",)


@pytest.mark.parametrize(
    ("record", "named", "option"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "c", "safe": 1}, {"label": "safe"}, "--label-column"),
        (
            {"prompt": "a", "chosen": "b", "rejected": "c", "x": "d"},
            {"completion": "x"},
            "--completion-column",
        ),
        ({"messages": [SKY, BLUE], "label": 1, "x": "d"}, {"completion": "x"}, "--completion-column"),
        ({"messages": [SKY, BLUE], "rejected_response": "c", "x": "d"}, {"prompt": "x"}, "--prompt-column"),
    ],
)
def test_a_column_is_not_named_in_vain(tmp_path: Path, record: Any, named: Any, option: str) -> None:
    (column,) = named.values()
    assert f"rated.jsonl: {option} {column} is not used by the format" in refusal(tmp_path, [record], **named)
    del record[column]
    assert opened(written(tmp_path, [record]), **named).format.unused == (option,) or "label" in record


@pytest.mark.parametrize(
    ("record", "unread"),
    [
        ({"question": "a", "response": "b", "rating": 1, "context": "c", "note": None}, ("context",)),
        ({"prompt": "a", "completion": "b", "label": 1, "tools": "hammer"}, ("tools",)),
        ({"messages": [{**SKY, "id": "7"}, BLUE], "label": 1, "tools": [{"name": "f"}]}, ("messages[].id",)),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "score_chosen": 3}, ("score_chosen",)),
    ],
)
def test_what_is_not_read_is_known(tmp_path: Path, record: Any, unread: tuple[str, ...]) -> None:
    assert opened(written(tmp_path, [record])).format.unread == unread


@pytest.mark.parametrize("prompt", [{}, {"prompt": "What color is the sky?"}, {"question": [SKY]}])
@pytest.mark.parametrize("begun", [[SKY], [system("Be brief."), SKY]])
def test_one_answer_holds_the_whole_conversation(tmp_path: Path, prompt: Any, begun: list[Any]) -> None:
    for chosen, rejected in (([*begun, BLUE], [GREEN]), ([BLUE], [*begun, GREEN])):
        _, rows = read(tmp_path, [{**prompt, "chosen": chosen, "rejected": rejected}])
        assert both(rows) == (begun, [BLUE], [GREEN])
    record = {"prompt": SKY["content"], "chosen": "It is blue.", "rejected": [*begun, GREEN]}
    assert both(read(tmp_path, [record])[1]) == (begun, [BLUE], [GREEN])
    assert '"prompt" is "x", which is not in the conversation beside it' in refusal(
        tmp_path, [{**record, "prompt": "x"}]
    )


def test_where_an_answer_of_several_messages_begins_is_not_guessed(tmp_path: Path) -> None:
    called = [
        SKY,
        {"role": "assistant", "tool_calls": [{"name": "look"}]},
        {"role": "tool", "content": "blue"},
    ]
    message = refusal(tmp_path, [{"prompt": [SKY], "chosen": [GREEN], "rejected": [*called, BLUE]}])
    assert '"rejected" holds a whole conversation and "chosen" an answer alone' in message


def test_turns_before_a_whole_conversation_are_kept(tmp_path: Path) -> None:
    whole = {"chosen": [SKY, BLUE], "rejected": [SKY, GREEN]}
    before = [user("Hi"), assistant("Ho")]
    for asked in ({"prompt": [*before, SKY]}, {"prompt": SKY["content"], "history": [["Hi", "Ho"]]}):
        assert both(read(tmp_path, [{**asked, **whole}])[1])[0] == [*before, SKY]
    message = refusal(tmp_path, [{"prompt": [user("Other?")], **whole}])
    assert 'that "chosen" and "rejected" begin with is not that of "prompt"' in message


@pytest.mark.parametrize(
    ("asked", "unread"),
    [
        ({"prompt": "In a storm. What color is the sky?"}, ("prompt",)),
        ({"prompt": " What color is the sky?"}, ()),
        ({"instruction": "What color", "input": "has Mars"}, ("input",)),
    ],
)
def test_a_prompt_that_a_conversation_does_not_hold_is_known(
    tmp_path: Path, asked: Any, unread: tuple[str, ...]
) -> None:
    record = {**asked, "chosen": [SKY, BLUE], "rejected": [SKY, GREEN]}
    assert opened(written(tmp_path, [record])).format.unread == unread
    assert opened(written(tmp_path, [{**record, "chosen": [BLUE]}])).format.unread == unread


def test_answers_of_hh_that_repeat_their_prompt(tmp_path: Path) -> None:
    asked = "\n\nHuman: Blue?\n\nAssistant:"
    record = {"prompt": asked, "chosen": f"{asked} Yes.", "rejected": " No."}
    assert both(read(tmp_path, [record])[1]) == (asked, " Yes.", " No.")


@pytest.mark.parametrize("prompt", ["prompt", "instruction"])
def test_pairs_of_argilla_and_axolotl(tmp_path: Path, prompt: str) -> None:
    record = {prompt: "Blue?", "chosen_response": "Yes.", "rejected_response": "No.", "chosen_avg_rating": 5}
    chat = prompt == "instruction"
    expected = (
        ([user("Blue?")], [assistant("Yes.")], [assistant("No.")]) if chat else ("Blue?", "Yes.", "No.")
    )
    name, rows = read(tmp_path, [record])
    assert name == f"pairs (chosen_response, rejected_response), {'conversational' if chat else 'text'}"
    assert both(rows) == expected
    _, rows = read(tmp_path, [{**record, "system": "S"}])
    assert rows[0].prompt == [system("S"), user("Blue?")]


@pytest.mark.parametrize("better", ["accepted", "preferred"])
def test_pairs_by_other_names(tmp_path: Path, better: str) -> None:
    name, rows = read(tmp_path, [{"prompt": "Blue?", better: "Yes.", "rejected": "No."}])
    assert name == f"pairs ({better}, rejected), text"
    assert both(rows) == ("Blue?", "Yes.", "No.")


@pytest.mark.parametrize("sides", [("response_1", "response_2"), ("human_ref_A", "human_ref_B")])
def test_two_answers_of_which_none_is_better_are_asked_about(tmp_path: Path, sides: tuple[str, str]) -> None:
    message = refusal(tmp_path, [{"question": "q", **dict.fromkeys(sides, "a"), "labels": 1}])
    assert f"(write the better of {sides[0]} and {sides[1]} as chosen, the worse as rejected)" in message


@pytest.mark.parametrize("column", ["messages", "conversation"])
def test_messages_that_only_ask_are_the_prompt_of_pairs(tmp_path: Path, column: str) -> None:
    record = {column: [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}
    _, rows = read(tmp_path, [record])
    assert [row.prompt for row in rows] == [[user("q")]] * 2
