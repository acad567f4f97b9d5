"""The sample data set inside the package."""

import re
from collections import Counter
from pathlib import Path

from kto_tui.data import Columns, Row, check_rows, load_rows, make_sample


def sample() -> list[Row]:
    return list(load_rows("builtin:sample", Columns()))


def content(text: str | list[dict[str, str]]) -> str:
    assert isinstance(text, list)
    return text[0]["content"]


def test_file_is_what_the_script_makes() -> None:
    path = Path(make_sample.__file__).with_name("sample.jsonl")
    assert path.read_text(encoding="utf-8") == "".join(make_sample.sample_lines())


def test_classes_are_balanced() -> None:
    counts = check_rows("builtin:sample", Columns())
    assert (counts.desirable, counts.undesirable) == (160, 160)


def test_column_options_of_other_data_do_not_touch_it() -> None:
    assert check_rows("builtin:sample", Columns(prompt="question", label="rating")).total == 320


def test_each_question_has_one_right_and_one_wrong_answer_far_apart() -> None:
    places: dict[str, dict[bool, int]] = {}
    for place, row in enumerate(sample()):
        places.setdefault(content(row.prompt), {})[row.label] = place
    assert len(places) == 160
    assert all(abs(found[True] - found[False]) > 40 for found in places.values())


def test_rows_are_distinct_short_and_conversational() -> None:
    rows = sample()
    assert len({(content(row.prompt), content(row.completion)) for row in rows}) == len(rows)
    for row in rows:
        assert len((content(row.prompt) + " " + content(row.completion)).split()) < 25
        assert [m["role"] for m in (*row.prompt, *row.completion)] == ["user", "assistant"]


def test_labels_of_sums_and_products_are_true() -> None:
    meanings = {"plus": int.__add__, "minus": int.__sub__, "times": int.__mul__}
    checked = Counter[bool]()
    for row in sample():
        if found := re.fullmatch(r"(\d+) (plus|minus|times) (\d+) is (\d+)\.", content(row.completion)):
            left, word, right, result = found.groups()
            assert (meanings[word](int(left), int(right)) == int(result)) == row.label
            checked[row.label] += 1
    assert checked == {True: 70, False: 70}


def test_labels_of_comparisons_and_lengths_are_true() -> None:
    checked = 0
    for row in sample():
        answer = content(row.completion)
        if found := re.fullmatch(r"(\d+) is larger than (\d+)\.", answer):
            assert (int(found[1]) > int(found[2])) == row.label
        elif found := re.fullmatch(r'The word "(\w+)" has (\d+) letters\.', answer):
            assert (len(found[1]) == int(found[2])) == row.label
        else:
            continue
        checked += 1
    assert checked == 72
