"""Thumbs and scales, in whatever form the answers are."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kto_tui.core.errors import UserError
from kto_tui.data.formats import UnexplainedScale, UnratedError
from kto_tui.data.formats.ratings import Judge, Judged
from tests.data.formats.reading import assistant, opened, read, refusal, user, written


def stars(*values: Any, column: str = "rating") -> list[dict[str, Any]]:
    return [
        {"prompt": f"question {n}", "response": "answer", column: value} for n, value in enumerate(values)
    ]


def labels(folder: Path, *values: Any, at_least: float | None = None, column: str = "rating") -> list[bool]:
    _, rows = read(folder, stars(*values, column=column), desirable_at_least=at_least)
    return [row.label for row in rows]


def test_thumbs_in_a_table(tmp_path: Path) -> None:
    records = [
        {"question": "Is it late?", "answer": "Yes", "thumbs_up": "👍"},
        {"question": "Is it early?", "answer": "Yes, yes", "thumbs_up": "👎🏽"},
    ]
    name, rows = read(tmp_path, records, "feedback.csv")
    assert name == "ratings (question, answer), text, rated by thumbs_up"
    assert [(row.prompt, row.completion, row.label) for row in rows] == [
        ("Is it late?", "Yes", True),
        ("Is it early?", "Yes, yes", False),
    ]


def test_stars_from_four_on_are_desirable(tmp_path: Path) -> None:
    assert labels(tmp_path, 5, 4, 3, 1, at_least=4) == [True, True, False, False]


def test_numbers_as_text(tmp_path: Path) -> None:
    values = ["5", " 4.0 ", "3 stars", "4/5", "2 out of 5", "★★★★☆", "⭐⭐"]
    assert labels(tmp_path, *values, at_least=4) == [True, True, False, True, False, True, False]


def test_words_keep_their_meaning_beside_numbers(tmp_path: Path) -> None:
    assert labels(tmp_path, 5, True, "good", False, "thumbs down", at_least=4) == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_minus_one_and_zero_are_undesirable_from_one_on(tmp_path: Path) -> None:
    assert labels(tmp_path, 1, 0, -1, at_least=1) == [True, False, False]


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ((5, 3, 1), "--desirable-at-least 4, found: 5, 3, 1"),
        ((10, 7), "--desirable-at-least 7, found: 10, 7"),
        ((1, 0, -1), "--desirable-at-least 1 (0 and -1 are then undesirable), found: 1, 0, -1"),
        ((0.25, 0.75), "--desirable-at-least 0.5, found: 0.25, 0.75"),
        (("4/5", "2/5"), '--desirable-at-least 4, found: "4/5", "2/5"'),
    ],
)
def test_a_scale_must_be_explained(tmp_path: Path, values: tuple[Any, ...], advice: str) -> None:
    message = refusal(tmp_path, stars(*values))
    assert '"rating" is ' in message
    assert message.endswith(f"; expected true/false, 0/1, yes/no, or say from which number on: {advice}")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("4/5", "8/10"), 'row 2: "rating" is 8 out of 10; expected ratings out of 5'),
        (("4/5", 8), 'row 2: "rating" is 8; expected ratings out of 5'),
        ((8, "4/5"), 'row 1: "rating" is 8; expected ratings out of 5'),
        (("3/2",), "is 3 out of 2"),
        (("maybe",), '"rating" is "maybe"; expected a number (desirable from --desirable-at-least 4 on)'),
        ((float("inf"),), '"rating" is Infinity; expected a number'),
        (("4 of 5 people",), '"rating" is "4 of 5 people"'),
        (("9" * 400,), '"rating" is "999'),
    ],
)
def test_numbers_that_are_none(tmp_path: Path, values: tuple[Any, ...], expected: str) -> None:
    assert expected in refusal(tmp_path, stars(*values), desirable_at_least=4)


def test_any_form_may_be_rated_by_stars(tmp_path: Path) -> None:
    talk = [user("Hi"), assistant("Ho")]
    name, rows = read(tmp_path, [{"messages": talk, "rating": n} for n in (5, 2)], desirable_at_least=4)
    assert name == "messages (OpenAI, ms-swift), rated by rating"
    assert [row.label for row in rows] == [True, False]
    alpaca = [{"instruction": "a", "output": "b", "score": n} for n in (5, 2)]
    _, rows = read(tmp_path, alpaca, desirable_at_least=4)
    assert [row.label for row in rows] == [True, False]


def test_one_of_several_ratings_must_be_chosen(tmp_path: Path) -> None:
    records = [{"prompt": "a", "response": "b", "rating": 5, "score": 0}]
    assert refusal(tmp_path, records) == (
        "rated.jsonl: found the ratings rating, score; choose one with --label-column"
    )
    _, rows = read(tmp_path, records, label="score")
    assert rows[0].label is False


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"prompt": "a", "completion": "b"}, ""),
        ({"messages": [user("a"), assistant("b")]}, ""),
        ({"conversations": [user("a"), assistant("b")], "kto_tag": True}, ""),
        ({"instruction": "a", "output": "b", "kto_tag": True}, ""),
        ({"prompt": [user("a")], "output": [assistant("b")], "reward": 1, "type": "binary_feedback"}, ""),
        ({"question": "a", "answer": "b", "rating": 1}, ""),
        (
            {"input": "a", "output": "b", "scores": {"user-feedback": 1}},
            'no rating "grade"; found user-feedback, label',
        ),
        (
            {"prompt": "a", "response": "b", "q.responses": ["yes"]},
            'no rating "grade"; found q, verdict (choose one with --label-column)',
        ),
    ],
)
def test_a_column_that_is_named_wins(tmp_path: Path, form: dict[str, Any], told: str) -> None:
    records = [{**form, "label": True, "verdict": "bad"}]
    if "q.responses" in form:
        records[0]["verdict"] = [{"user_id": "ann", "value": "bad", "status": "submitted"}]
    _, rows = read(tmp_path, records, label="verdict")
    assert rows[0].label is False
    assert (told or 'no column "grade"; found ') in refusal(tmp_path, records, label="grade")


def test_columns_may_be_nested(tmp_path: Path) -> None:
    record = {"in": {"text": "a"}, "out": {"text": "b"}, "by": {"human": "yes"}}
    _, rows = read(tmp_path, [record], prompt="in.text", completion="out.text", label="by.human")
    assert (rows[0].prompt, rows[0].completion, rows[0].label) == ("a", "b", True)


def test_an_odd_scale_does_not_spoil_the_next(tmp_path: Path) -> None:
    source = opened(written(tmp_path, stars("3/4", "6/10", "4/10")), desirable_at_least=5)
    for _ in range(2):
        told: list[Exception] = []
        assert [row.label for row in source.rows(told.append)] == [True, False]
        assert [str(error).partition(", ")[2].partition(";")[0] for error in told] == [
            'row 1: "rating" is 3 out of 4'
        ]


FORMS: list[dict[str, Any]] = [
    {"prompt": "a", "response": "b"},
    {"messages": [user("a"), assistant("b")]},
    {"instruction": "a", "output": "b"},
    {"input": "a", "output": "b"},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("values", [(1, 0, 3), (1, 0, "4/5"), (1, 0, -1)])
def test_a_scale_is_no_matter_of_one_row(
    tmp_path: Path, form: dict[str, Any], values: tuple[Any, ...]
) -> None:
    """If one number is neither 0 nor 1, those two mean nothing either: at once, or where it comes late."""
    rated = [{**form, "rating": value} for value in values]
    with pytest.raises(UnexplainedScale, match="rating"):
        opened(written(tmp_path, rated))
    late = opened(written(tmp_path, [*rated[:2] * 10, *rated])).format
    for record in rated[:2]:
        late.rows(record, "row 21")
    with pytest.raises(UnexplainedScale, match='row 23: "rating" is'):
        late.rows(rated[2], "row 23")


def test_what_is_no_rating_is_a_matter_of_one_row(tmp_path: Path) -> None:
    told: list[Exception] = []
    rows = list(opened(written(tmp_path, stars(1, "maybe", 0))).rows(told.append))
    assert ([row.label for row in rows], len(told)) == ([True, False], 1)


@pytest.mark.parametrize(
    ("values", "at_least", "expected"),
    [
        ((1, 0, 1), 4, True),
        (("1", "0"), 4, True),
        ((1, 0, 5), 4, False),
        (("1/5", "0/5"), 4, False),
        ((1, 0), 1, False),
        ((1, 0), None, False),
        ((True, "bad"), 4, False),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_thumbs_beside_a_threshold_are_known(
    tmp_path: Path, form: dict[str, Any], values: tuple[Any, ...], at_least: float | None, expected: bool
) -> None:
    rated = [{**form, "rating": value} for value in values]
    source = opened(written(tmp_path, rated), desirable_at_least=at_least)
    assert source.format.at_odds() == ""
    for record in rated:
        source.format.rows(record, "row")
    assert bool(source.format.at_odds()) is expected


def test_what_nobody_rated_is_skipped(tmp_path: Path) -> None:
    for values in ((1, None, 0), (1, "", 0), (1, float("nan"), 0)):
        source = opened(written(tmp_path, stars(*values)))
        assert ([row.label for row in source.rows()], source.unrated) == ([True, False], 1)
    source = opened(written(tmp_path, stars(5, None, 1)), desirable_at_least=4)
    assert ([row.label for row in source.rows()], source.unrated) == ([True, False], 1)


@pytest.mark.parametrize("column", ["label", "kto_tag"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_null_label_of_a_training_file_is_a_mistake(tmp_path: Path, column: str, value: Any) -> None:
    records = [{"instruction": "a", "output": "b", column: label} for label in (True, value)]
    assert f'row 2: "{column}" is ' in refusal(tmp_path, records)


def test_other_emojis_than_thumbs_are_no_rating_of_a_reaction(tmp_path: Path) -> None:
    source = opened(written(tmp_path, stars("👍🏽", "🎉", ":-1:", ":tada:", "❤️", column="reaction")))
    assert ([row.label for row in source.rows()], source.unrated) == ([True, False], 3)
    assert 'row 2: "reaction" is "fine"' in refusal(tmp_path, stars("👍", "fine", column="reaction"))
    assert 'row 2: "label" is "🎉"' in refusal(tmp_path, stars("👍", "🎉", column="label"))


TRL = [{"prompt": "a", "completion": "b", "label": label} for label in (True, False)]


def changing(first: list[Any], later: list[Any]) -> list[dict[str, Any]]:
    """A file whose scale changes after all rows that its format is recognized from."""
    return stars(*(first * 30)[:30], *later)


@pytest.mark.parametrize(
    ("first", "later", "at_least", "expected"),
    [
        (
            [5, 1, 3],
            ["4/10"],
            4,
            "4 out of 10; expected ratings of one scale, and the first rows are rated 5",
        ),
        ([9, 1, 3], ["4/5"], 4, "4 out of 5; expected ratings of one scale, and a row before is rated 9"),
        ([5, 1, 3], [8, "4/5"], 4, "4 out of 5; expected ratings of one scale, and a row before is rated 8"),
        ([5, 1, 3], ["4/5", 8], 4, "8; expected ratings out of 5, as a row before has it"),
        ([5, 1, 3], ["4/5", "6/8"], 4, "6 out of 8; expected ratings out of 5, as a row before has it"),
        (["5/5", "1/5"], ["8/10"], 4, "8 out of 10; expected ratings out of 5, as the first rows have it"),
        (["5/5", "1/5"], [8], 4, "8; expected ratings out of 5, as the first rows have it"),
        ([0.1, 0.9], [80], 0.5, "80; expected ratings from 0 to 1, as the first rows have it"),
        (
            [10**400, 1],
            ["4/5"],
            4,
            "4 out of 5; expected ratings of one scale, and a row before is rated 1000",
        ),
        ([10, 90], [0.9], 50, "0.9; expected whole numbers, as the first rows have it"),
    ],
)
def test_a_scale_that_changes_is_told_at_each_reading(
    tmp_path: Path, first: list[Any], later: list[Any], at_least: float, expected: str
) -> None:
    source = opened(written(tmp_path, changing(first, later)), desirable_at_least=at_least)
    readings = []
    for _ in range(2):
        told: list[Exception] = []
        readings.append(([row.label for row in source.rows(told.append)], [str(error) for error in told]))
    assert readings[0] == readings[1]
    assert [f'row {30 + len(later)}: "rating" is {expected}' in told for told in readings[0][1]] == [True]


@pytest.mark.parametrize(
    ("first", "later", "at_least"),
    [([5, 1, 3], ["4/5", 4], 4), ([9, 3], ["8/10"], 4), ([1, 2, 3], [40, 7], 4), ([0.5, 4.5], [0.9, 5], 4)],
)
def test_ratings_that_may_be_of_one_scale(
    tmp_path: Path, first: list[Any], later: list[Any], at_least: float
) -> None:
    _, rows = read(tmp_path, changing(first, later), desirable_at_least=at_least)
    assert len(rows) == 30 + len(later)


def test_wording_of_a_threshold_above_the_scale(tmp_path: Path) -> None:
    assert refusal(tmp_path, stars("3/4"), desirable_at_least=5).endswith(
        '"rating" is 3 out of 4; expected ratings out of 5 or more, since --desirable-at-least is that'
    )
    assert refusal(tmp_path, stars("7/5"), desirable_at_least=4).endswith(
        '"rating" is 7 out of 5; expected at most 5'
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0, 0), ""),
        (("1/5", "1/5"), ""),
        ((1, 1, 4), ""),
        (
            (1, 1),
            'all ratings are 1, and --desirable-at-least 4 makes every row undesirable; write them as "1/5"',
        ),
        (
            (1, 0),
            "all ratings are 0 or 1, and --desirable-at-least 4 makes every row undesirable; leave it out",
        ),
        ((0.2, 0.9), "all ratings are from 0 to 1, and --desirable-at-least 4 makes every row undesirable; "),
    ],
)
def test_a_threshold_of_another_scale(tmp_path: Path, values: tuple[Any, ...], expected: str) -> None:
    known = opened(written(tmp_path, stars(*values)), desirable_at_least=4).format
    for record in stars(*values):
        known.rows(record, "row")
    assert isinstance(known, Judged)
    assert known.at_odds().startswith(expected)
    assert bool(known.at_odds()) is bool(expected)


def test_records_without_a_rating_beside_rated_ones(tmp_path: Path) -> None:
    source = opened(written(tmp_path, [*stars(1, 0), {"prompt": "a", "response": "b"}]))
    assert ([row.label for row in source.rows()], source.unrated) == ([True, False], 1)
    assert 'no column "label"' in refusal(tmp_path, [*TRL, {"prompt": "a", "completion": "b"}])


def test_a_record_that_lacks_its_rating(tmp_path: Path) -> None:
    judge = Judge("rating", None, [1, 0])
    with pytest.raises(UnratedError, match='row 3: no rating in "rating"'):
        judge.of_record({"prompt": "a"}, "row 3")
    for column, seen in (("label", [True]), ("kto_tag", [True]), ("grade", [])):
        with pytest.raises(UserError, match=f'row 3: no column "{column}"; found prompt'):
            Judge(column, None, seen).of_record({"prompt": "a"}, "row 3")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_thumbs_up_and_down_beside_each_other(tmp_path: Path, name: str) -> None:
    """Counts of both: nobody rated a row without any."""
    counts: list[tuple[Any, Any]] = [(1, 0), (0, 1), (0, 0), (1, 1), ("", 1)]
    records = [{"prompt": "a", "response": "b", "thumbs_up": up, "thumbs_down": down} for up, down in counts]
    source = opened(written(tmp_path, records, name))
    assert [row.label for row in source.rows()] == [True, False, False]
    assert (source.unrated, source.tied) == (1, 1)


def test_thumbs_down_are_read_from_columnar_files_too(tmp_path: Path) -> None:
    table = pa.table(
        {"prompt": ["a"] * 2, "completion": ["b"] * 2, "thumbs_up": [0, 0], "thumbs_down": [1, 0]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    source = opened(tmp_path / "a.parquet")
    assert ([row.label for row in source.rows()], source.unrated) == ([False], 1)


def test_a_column_that_says_what_is_bad(tmp_path: Path) -> None:
    records = [{"prompt": "a", "response": "b", "thumbs_down": value} for value in (0, 1)]
    assert refusal(tmp_path, records, label="thumbs_down") == (
        'rated.jsonl: a yes in "thumbs_down" says that the answer is bad; rate by a column that says what is'
        " good, with the opposite values"
    )


def test_decimals_of_databases(tmp_path: Path) -> None:
    for values, at_least in (([1, 0], None), (["4.50", "1.00"], 4)):
        ratings = pa.array([Decimal(value) for value in values], pa.decimal128(5, 2))
        table = pa.table({"prompt": ["a", "b"], "response": ["c", "d"], "rating": ratings})
        pq.write_table(table, tmp_path / "a.parquet")
        source = opened(tmp_path / "a.parquet", desirable_at_least=at_least)
        assert [row.label for row in source.rows()] == [True, False]
        assert source.format.at_odds() == ""


def test_nothing_written_out_is_no_rating(tmp_path: Path) -> None:
    source = opened(written(tmp_path, stars("5", "NaN", "n/a", "2,5"), "a.csv"), desirable_at_least=4)
    assert ([row.label for row in source.rows()], source.unrated) == ([True, False], 2)
    assert '"label" is "NaN"' in refusal(tmp_path, stars("1", "NaN", column="label"), "b.csv")
