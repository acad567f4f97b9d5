"""Unpaired and paired preferences as TRL's documentation has them."""

from pathlib import Path
from typing import Any

import pytest

from kto_tui.data.rows import Row
from tests.data.formats.reading import assistant, read, refusal, system, user

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
        ({"prompt": "a", "chosen": "b", "rejected": ""}, '"rejected" is empty'),
        ({"prompt": "a", "chosen": "b", "rejected": None}, '"rejected" is null; expected text'),
        ({"prompt": [SKY], "chosen": [BLUE], "rejected": [SKY]}, 'the last message of "rejected" is of role'),
        ({"chosen": "The sky is", "rejected": "The sky is"}, '"chosen" and "rejected" are the same'),
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
