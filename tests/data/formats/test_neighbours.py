"""Files made for LLaMA-Factory, Axolotl, ms-swift and HALOs, as their documentation and code have them."""

import json
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.errors import UserError
from kto_tui.data.load import open_dataset
from kto_tui.data.rows import Columns
from tests.data.formats.reading import assistant, read, refusal, system, user, written

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def test_sharegpt_with_tools(tmp_path: Path) -> None:
    records = [
        {
            "conversations": [
                {"from": "human", "value": "Is it raining in Bonn?"},
                {"from": "function_call", "value": '{"name": "get_weather", "arguments": {"city": "Bonn"}}'},
                {"from": "observation", "value": '{"rain": true}'},
                {"from": "gpt", "value": "Yes, take an umbrella."},
            ],
            "system": "You know the weather.",
            "tools": json.dumps([WEATHER]),
            "kto_tag": True,
        },
        {
            "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "No."}],
            "kto_tag": False,
        },
    ]
    name, rows = read(tmp_path, records, "kto.json")
    assert name == "LLaMA-Factory sharegpt"
    call = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Bonn"}}}
    assert rows[0].prompt == [
        system("You know the weather."),
        user("Is it raining in Bonn?"),
        {**assistant(""), "tool_calls": [call]},
        {"role": "tool", "content": '{"rain": true}'},
    ]
    assert rows[0].completion == [assistant("Yes, take an umbrella.")]
    assert rows[0].tools == [{"type": "function", "function": WEATHER}]
    assert [(row.label, row.tools is None) for row in rows] == [(True, False), (False, True)]


def test_kto_en_demo(tmp_path: Path) -> None:
    """LLaMA-Factory's own example: messages of role and content, and a label."""
    talk = [user("Hi"), assistant("Hello."), user("Bye"), assistant("Bye!")]
    _, rows = read(tmp_path, [{"messages": talk, "label": False}], "kto_en_demo.json")
    assert (rows[0].prompt, rows[0].completion, rows[0].label) == (talk[:3], talk[3:], False)


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_prompt_stands_in_one_place(tmp_path: Path, role: str) -> None:
    talk = [
        {"from": role, "value": "inner"},
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Ho"},
    ]
    record = {"conversations": talk, "system": " inner", "kto_tag": True}
    _, rows = read(tmp_path, [record])
    assert rows[0].prompt == [{"role": role, "content": "inner"}, user("Hi")]
    first = [{**record, "system": ""}] * 20
    assert refusal(tmp_path, [*first, {**record, "system": "outer"}]) == (
        'rated.jsonl, row 21: "system" is another system prompt than the one that the messages begin with,'
        " and one of them is read; leave one out, or write them as one"
    )


def test_alpaca(tmp_path: Path) -> None:
    records = [
        {
            "instruction": "Translate to German:",
            "input": "the sea",
            "output": "das Meer",
            "system": "You translate.",
            "history": [["Translate: the sun", "die Sonne"]],
            "kto_tag": True,
        },
        {
            "instruction": "Name a fish.",
            "input": "",
            "output": "Cow.",
            "system": "",
            "history": [],
            "kto_tag": False,
        },
    ]
    name, rows = read(tmp_path, records, "kto.json")
    assert name == "LLaMA-Factory alpaca"
    assert rows[0].prompt == [
        system("You translate."),
        user("Translate: the sun"),
        assistant("die Sonne"),
        user("Translate to German:\nthe sea"),
    ]
    assert (rows[0].completion, rows[0].label) == ([assistant("das Meer")], True)
    assert (rows[1].prompt, rows[1].label) == ([user("Name a fish.")], False)


def test_llama_factory_pairs(tmp_path: Path) -> None:
    talk = {"conversations": [{"from": "human", "value": "Hi"}]}
    record = {
        **talk,
        "chosen": {"from": "gpt", "value": "Hello."},
        "rejected": {"from": "gpt", "value": "What?"},
    }
    name, rows = read(tmp_path, [record], "dpo.json")
    assert name == "LLaMA-Factory pairs"
    assert [row.prompt for row in rows] == [[user("Hi")]] * 2
    assert [row.completion for row in rows] == [[assistant("Hello.")], [assistant("What?")]]
    alpaca = {"instruction": "Name", "input": "a fish", "chosen": "Cod", "rejected": "Cow"}
    _, rows = read(tmp_path, [alpaca])
    assert rows[0].prompt == [user("Name\na fish")]
    assert [row.completion for row in rows] == [[assistant("Cod")], [assistant("Cow")]]


@pytest.mark.parametrize("column", ["instruction", "question", "prompt"])
def test_axolotl(tmp_path: Path, column: str) -> None:
    """llama3.argilla, chatml.intel and chatml.ultra differ in the name of the prompt."""
    record = {"system": "You are short.", column: "Why?", "completion": "Because.", "label": True}
    name, rows = read(tmp_path, [record, {**record, "system": "", "label": False}])
    assert name.startswith("Axolotl KTO")
    assert rows[0].prompt == [system("You are short."), user("Why?")]
    assert rows[1].prompt == [user("Why?")]
    assert rows[1].completion == [assistant("Because.")]


def test_axolotl_argilla_chat(tmp_path: Path) -> None:
    talk = [user("Hi"), assistant("Hello."), user("More"), assistant("No.")]
    name, rows = read(tmp_path, [{"completion": talk, "label": False}])
    assert name == "Axolotl KTO, conversations"
    assert (rows[0].prompt, rows[0].completion) == (talk[:3], talk[3:])


def test_axolotl_user_defined(tmp_path: Path) -> None:
    record = {"my_question": "Why?", "my_answer": "Because.", "my_verdict": "no"}
    _, rows = read(tmp_path, [record], prompt="my_question", completion="my_answer", label="my_verdict")
    assert (rows[0].prompt, rows[0].completion, rows[0].label) == ("Why?", "Because.", False)


def test_swift_kto(tmp_path: Path) -> None:
    talk = [system("You calculate."), user("1 + 1?"), assistant("2"), user("And 1 more?"), assistant("3")]
    name, rows = read(tmp_path, [{"messages": talk, "label": True}])
    assert name == "messages (OpenAI, ms-swift)"
    assert (rows[0].prompt, rows[0].completion) == (talk[:4], talk[4:])


def test_swift_query_and_response(tmp_path: Path) -> None:
    record = {"system": "Be kind.", "query": "q2", "response": "r2", "history": [["q1", "r1"]], "label": True}
    name, rows = read(tmp_path, [record, {"query": "q", "response": "r", "label": False}])
    assert name == "ms-swift query and response"
    assert rows[0].prompt == [system("Be kind."), user("q1"), assistant("r1"), user("q2")]
    assert (rows[1].prompt, rows[1].completion) == ([user("q")], [assistant("r")])


def test_swift_pairs(tmp_path: Path) -> None:
    talk = [user("Weather?"), assistant("Sunny.")]
    name, rows = read(tmp_path, [{"messages": talk, "rejected_response": "I don't know"}])
    assert name == "ms-swift pairs"
    assert [(r.prompt, r.completion, r.label) for r in rows] == [
        (talk[:1], talk[1:], True),
        (talk[:1], [assistant("I don't know")], False),
    ]
    _, rows = read(tmp_path, [{"messages": talk, "rejected_messages": [talk[0], assistant("No.")]}])
    assert rows[1].completion == [assistant("No.")]
    _, rows = read(tmp_path, [{"query": "q", "response": "r", "rejected_response": "x"}])
    assert [row.completion for row in rows] == [[assistant("r")], [assistant("x")]]


def test_swift_sharegpt_turns(tmp_path: Path) -> None:
    turns = [{"human": "q1", "assistant": "r1"}, {"human": "q2", "assistant": "r2"}]
    _, rows = read(tmp_path, [{"system": "s", "conversation": turns, "label": True}])
    assert rows[0].prompt == [system("s"), user("q1"), assistant("r1"), user("q2")]


def halos(**more: Any) -> dict[str, Any]:
    """An item of what train.label of HALOs writes."""
    return {"prompt_id": 7, "prompt": [user("Name a fish.")], "output": [assistant("Cod.")], **more}


def test_halos_binary_feedback(tmp_path: Path) -> None:
    items = [
        halos(label=1, reward=0.7, type="binary_feedback"),
        halos(label=0, reward=-2.1, type="binary_feedback"),
    ]
    name, rows = read(tmp_path, items, "feedback.json")
    assert name == "HALOs feedback"
    assert (rows[0].prompt, rows[0].completion) == ([user("Name a fish.")], [assistant("Cod.")])
    assert [row.label for row in rows] == [True, False]


def test_halos_rewards_need_a_threshold(tmp_path: Path) -> None:
    items = [halos(reward=8.5, type="scalar_feedback"), halos(reward=3.0, type="scalar_feedback")]
    assert "--desirable-at-least 5.95, found: 8.5, 3.0" in refusal(tmp_path, items, "feedback.json")
    name, rows = read(tmp_path, items, "feedback.json", desirable_at_least=5)
    assert name == "HALOs feedback, rated by reward"
    assert [row.label for row in rows] == [True, False]


def test_labels_of_halos_stay_beside_ratings_with_a_threshold(tmp_path: Path) -> None:
    items = [
        halos(label=good, reward=1.5 if good else -2.0, type="binary_feedback") for good in (True, False)
    ]
    feedback = written(tmp_path, items, "a.jsonl")
    stars = written(tmp_path, [{"prompt": "a", "response": "b", "rating": n} for n in (1, 5)], "b.jsonl")
    parts = open_dataset(f"{feedback},{stars}", Columns(desirable_at_least=4))
    assert [[row.label for row in part.rows()] for part in parts] == [[True, False], [False, True]]
    name, rows = read(tmp_path, items, desirable_at_least=2, label="reward")
    assert name == "HALOs feedback, rated by reward"
    assert [row.label for row in rows] == [False, False]


@pytest.mark.parametrize(("label", "better"), [(1, "Cod."), (0, "Cow.")])
@pytest.mark.parametrize("at_least", [None, 4])
def test_halos_pairwise_feedback(tmp_path: Path, label: int, better: str, at_least: float | None) -> None:
    """Which of two is better is on no scale."""
    item = {
        "prompt_id": 7,
        "prompt": [user("Name a fish.")],
        "output_A": [assistant("Cod.")],
        "output_B": [assistant("Cow.")],
        "label": label,
        "reward_A": 1.5,
        "reward_B": -0.5,
        "reward_difference": 2.0,
        "type": "pairwise_feedback",
    }
    name, rows = read(tmp_path, [item], "feedback.json", desirable_at_least=at_least)
    assert name == "HALOs pairwise feedback"
    assert [row.label for row in rows] == [True, False]
    assert rows[0].completion == [assistant(better)]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"instruction": "a", "input": 3, "output": "b", "kto_tag": True}, '"input" is 3; expected text'),
        (
            {"instruction": "a", "output": "b", "kto_tag": True, "history": ["a"]},
            '"history" holds "a"; expected pairs of text',
        ),
        ({"instruction": "a", "output": "b", "kto_tag": True, "system": 1}, '"system" is 1; expected text'),
        (
            {"messages": [user("a"), assistant("b")], "label": True, "images": ["x.png"]},
            '"images" holds more than',
        ),
        (
            {"messages": [user("a"), assistant("b")], "label": True, "tools": "get_weather"},
            '"tools" holds "get_w',
        ),
        (
            {"conversations": [{"from": "wizard", "value": "a"}], "kto_tag": True},
            'message 1 of "conversations": from is "wizard"; expected one of user, human',
        ),
        (
            {"conversations": [{"from": "function_call", "value": "rain"}], "kto_tag": True},
            'a call of a function is "rain"; expected an object with name and arguments',
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, record: Any, expected: str) -> None:
    message = refusal(tmp_path, [record])
    assert message.startswith("rated.jsonl, row 1")
    assert expected in message


@pytest.mark.parametrize(
    ("record", "prompt"),
    [
        ({"instruction": "Translate:", "input": "sea", "response": "b"}, [user("Translate:\nsea")]),
        (
            {"question": "More?", "history": [["a", "b"]], "answer": "b"},
            [user("a"), assistant("b"), user("More?")],
        ),
        (
            {"prompt": "More?", "history": [["a", "b"]], "completion": "b"},
            [user("a"), assistant("b"), user("More?")],
        ),
        (
            {"system_prompt": "Be brief.", "question": "Why?", "response": "b"},
            [system("Be brief."), user("Why?")],
        ),
    ],
)
def test_what_belongs_to_the_prompt_is_read(tmp_path: Path, record: Any, prompt: Any) -> None:
    _, rows = read(tmp_path, [{**record, "rating": 1}])
    assert (rows[0].prompt, rows[0].completion) == (prompt, [assistant("b")])


@pytest.mark.parametrize("number", [7, "c-7"])
@pytest.mark.parametrize(
    "record",
    [
        {"question": "q", "answer": "r", "rating": 1},
        {"prompt": "q", "completion": "r", "label": 1},
        {"prompt": "q", "chosen": "r", "rejected": "x"},
        {"query": "q", "response": "r", "rejected_response": "x"},
    ],
)
def test_a_conversation_may_be_a_number_beside(tmp_path: Path, record: Any, number: Any) -> None:
    _, with_number = read(tmp_path, [{"conversation": number, **record}])
    assert with_number == read(tmp_path, [record])[1]


def test_a_history_that_is_one_text_is_refused(tmp_path: Path) -> None:
    """Who said what in it cannot be told, and most templates refuse two turns of a user."""
    record = {"question": "q", "answer": "r", "rating": 1, "chat_history": "Human: a\nAI: b"}
    assert refusal(tmp_path, [record]) == (
        'rated.jsonl, row 1: "chat_history" holds "Human: a\\nAI: b"; expected pairs of text, question and'
        " answer, or a list of messages"
    )


def test_a_rating_is_named_for_one_of_several_data_sets(tmp_path: Path) -> None:
    scored = written(tmp_path, [{"prompt": "a", "completion": "b", "score": 1}], "a.jsonl")
    tagged = written(tmp_path, [{"instruction": "a", "output": "b", "kto_tag": False}], "b.jsonl")
    parts = open_dataset(f"{scored},{tagged}", Columns(label="score"))
    assert [[row.label for row in part.rows()] for part in parts] == [[True], [False]]
    with pytest.raises(UserError) as error:
        open_dataset(f"{tagged},{scored}", Columns(label="stars"))
    assert str(error.value) == (
        f'{tagged}: no column "stars"; found instruction, output, kto_tag (choose one with --label-column)'
    )


def test_rejected_messages_that_part_early(tmp_path: Path) -> None:
    """The prompt is what both have; what either says after it is its answer."""
    talk = [user("q"), assistant("a"), user("More?"), assistant("b")]
    worse = [user("q"), assistant("x"), user("More?"), assistant("y")]
    _, rows = read(tmp_path, [{"messages": talk, "system": "S", "rejected_messages": worse}])
    assert [row.prompt for row in rows] == [[system("S"), user("q")]] * 2
    assert [row.completion for row in rows] == [talk[1:], worse[1:]]
    message = refusal(tmp_path, [{"messages": talk, "rejected_messages": [user("other"), assistant("x")]}])
    assert '"messages" and "rejected_messages" do not begin alike' in message
