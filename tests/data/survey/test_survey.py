"""What is found in rows, one kind at a time, and against counting by hand."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from kto_tui.core.datareport import DataReport, Finding
from kto_tui.data.rows import Row
from kto_tui.data.survey import RowSurvey, build_report, leaks
from kto_tui.data.survey.lengths import bars, share_longer, spread
from kto_tui.data.survey.repeats import find_repeats


def survey_of(rows: Iterable[tuple[Any, Any, bool]], name: str = "a.jsonl") -> RowSurvey:
    survey = RowSurvey()
    for number, (prompt, answer, label) in enumerate(rows, 1):
        survey.add(Row(prompt, answer, label, f"{name}, row {number}"))
    return survey


def plain(count: int = 200) -> list[tuple[Any, Any, bool]]:
    """Rows with nothing to complain about."""
    return [(f"question {n}", f"answer {n:03}", n % 3 != 0) for n in range(count)]


def found(report: DataReport, kind: str) -> Finding:
    matching = [finding for finding in report.findings if finding.kind == kind]
    assert len(matching) == 1, report.findings
    return matching[0]


def kinds(report: DataReport) -> list[str]:
    return [finding.kind for finding in report.findings]


def said(content: str, role: str = "user") -> list[dict[str, Any]]:
    return [{"role": role, "content": content}]


def test_rows_without_a_fault() -> None:
    report = build_report(survey_of(plain()))
    assert (report.desirable, report.undesirable, report.findings) == (133, 67, ())


def test_repeats() -> None:
    report = build_report(survey_of([*plain(), plain()[1], plain()[1], plain()[4]]))
    repeated = found(report, "duplicates")
    assert (repeated.rows, repeated.severity) == (3, "warning")
    assert repeated.examples[0] == "a.jsonl, rows 2 and 201"
    assert found(build_report(survey_of([*plain(), plain()[1]])), "duplicates").severity == "info"


def test_rows_taken_again_by_weight_are_no_repeats() -> None:
    survey = RowSurvey()
    for number, (prompt, answer, label) in enumerate(plain(), 1):
        for _ in range(2):
            survey.add(Row(prompt, answer, label, f"a.jsonl, row {number}"))
    assert build_report(survey).findings == ()


def test_a_data_set_that_is_named_twice_repeats_itself() -> None:
    survey = RowSurvey()
    for _ in range(2):
        survey.begin_source()
        for number, (prompt, answer, label) in enumerate(plain(), 1):
            survey.add(Row(prompt, answer, label, f"a.jsonl, row {number}"))
    repeated = found(build_report(survey), "duplicates")
    assert repeated.rows == 200
    assert repeated.examples[0] == "a.jsonl, row 1, in a data set that is named twice"
    assert build_report(survey.chosen(np.arange(200))).findings == ()


def test_text_and_messages_in_any_order_of_keys_are_the_same() -> None:
    asked, turned = said("q"), [{"content": "q", "role": "user"}]
    survey = survey_of([("q", "a", True), (asked, said("a", "assistant"), True), (turned, "a", False)])
    repeats = find_repeats(survey)
    assert repeats.repeated.tolist() == [False, True, False]
    assert repeats.contradicting.tolist() == [True, False, True]
    assert [finding.rows for finding in leaks(survey, survey_of([(turned, "b", True)]))] == [1]


def test_contradictions_are_not_counted_as_both_labels() -> None:
    rows = [*plain(), ("question 1", "answer 001", False), ("question 1", "answer 001", False)]
    report = build_report(survey_of(rows))
    assert found(report, "contradictions").examples == ("a.jsonl, rows 2 and 201",)
    assert "1 answer is rated both" in found(report, "contradictions").message
    assert found(report, "duplicates").rows == 1
    assert "both_labels" not in kinds(report)


def test_both_labels_are_good() -> None:
    finding = found(build_report(survey_of([*plain(), ("question 1", "no", False)])), "both_labels")
    assert (finding.severity, finding.rows) == ("info", 2)


def test_the_same_prompt_with_other_tools_is_another() -> None:
    survey = RowSurvey()
    tool = {"type": "function", "function": {"name": "f"}}
    for number, tools in enumerate((None, [tool], [tool])):
        survey.add(Row("q", "a", True, f"f, row {number + 1}", tools))
    assert find_repeats(survey).repeated.tolist() == [False, False, True]


def test_repeats_as_counted_by_hand() -> None:
    draw = random.Random(5)
    rows = [(f"p{draw.randrange(12)}", f"a{draw.randrange(6)}", draw.random() < 0.5) for _ in range(150)]
    repeats = find_repeats(survey_of(rows))
    assert int(repeats.repeated.sum()) == len(rows) - len(set(rows))
    labels, prompts = defaultdict(set), defaultdict(set)
    for prompt, answer, label in rows:
        labels[prompt, answer].add(label)
        prompts[answer].add(prompt)
    torn = {key for key, both in labels.items() if len(both) == 2}
    assert int(repeats.contradicting.sum()) == 2 * len(torn)
    assert repeats.most_said == max(map(len, prompts.values()))
    by_prompt: dict[str, list[bool]] = defaultdict(list)
    for prompt, answer, label in dict.fromkeys(rows):
        if (prompt, answer) not in torn:
            by_prompt[prompt].append(label)
    assert repeats.both_labels == sum(len(set(both)) == 2 for both in by_prompt.values())


def test_empty_answers_and_calls() -> None:
    call = [{"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}]
    rows = [*plain(), ("q", " \n", True), (said("q"), said("", "assistant"), True), (said("r"), call, True)]
    assert found(build_report(survey_of(rows)), "empty_answers").rows == 2


def test_one_class_and_no_rows() -> None:
    rows = [(prompt, answer, True) for prompt, answer, _ in plain()]
    assert found(build_report(survey_of(rows)), "one_class").severity == "error"
    assert found(build_report(survey_of(rows), evaluation=True), "one_class").severity == "info"
    assert found(build_report(RowSurvey()), "no_rows").severity == "error"


def test_few_and_rare() -> None:
    assert kinds(build_report(survey_of(plain(90)))) == ["few_rows"]
    rows = [(f"q{n}", "a" * (5 + n % 50), n % 100 != 0) for n in range(400)]
    rare = found(build_report(survey_of(rows)), "imbalance")
    assert (rare.rows, rare.examples[0]) == (4, "a.jsonl, row 1")
    assert "undesirable answers are rare: 4 of 400 rows (1%)" in rare.message


@pytest.mark.parametrize(
    ("weights", "told"), [((1, 1), True), ((1, 1.5), False), ((1, 2), True), ((1, 0), True)]
)
def test_weights_out_of_the_band_of_the_paper(weights: tuple[float, float], told: bool) -> None:
    report = build_report(survey_of(plain()), weights=weights, weights_given=True)
    assert ("weights" in kinds(report)) is told
    assert build_report(survey_of(plain()), weights=weights).findings == ()


def test_longer_answers_of_one_class() -> None:
    rows = [
        (f"q{n}", "long " * (20 + n % 9) if n % 2 else "short " * (1 + n % 9), n % 2 == 1) for n in range(200)
    ]
    finding = found(build_report(survey_of(rows)), "length_bias")
    assert "desirable answers are longer" in finding.message
    assert "in 100% of pairs" in finding.message
    turned = found(build_report(survey_of((p, a, not label) for p, a, label in rows)), "length_bias")
    assert "undesirable answers are longer" in turned.message


def test_medians_that_are_equal_are_left_out() -> None:
    longer = [(f"q{n}", "a" * (4 + (n % 40 < 18)), True) for n in range(200)]
    shorter = [(f"r{n}", "a" * (4 - (n % 40 < 18)), False) for n in range(200)]
    finding = found(build_report(survey_of([*longer, *shorter])), "length_bias")
    assert finding.message == "desirable answers are longer in 85% of pairs"


def test_an_answer_to_everything() -> None:
    rows = [
        (p, "I can't help with that." if n % 4 == 0 else a, label) for n, (p, a, label) in enumerate(plain())
    ]
    finding = found(build_report(survey_of(rows)), "repeated_answer")
    assert (finding.rows, finding.severity) == (50, "warning")
    assert finding.examples[:2] == ("a.jsonl, row 1", "a.jsonl, row 5")


def test_rows_sorted_by_label() -> None:
    rows = [(p, a, n < 150) for n, (p, a, _) in enumerate(plain())]
    finding = found(build_report(survey_of(rows)), "label_runs")
    assert (finding.rows, finding.severity) == (150, "info")
    assert finding.examples == ("a.jsonl, rows 1 and 150",)


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("<|im_start|>user\nHi<|im_end|>", "ChatML"),
        ("[INST] Hi [/INST]", "Mistral / Llama 2"),
        ("<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "Llama 3"),
        ("<start_of_turn>user\nHi<end_of_turn>", "Gemma"),
        ("Hi</s>", "end of text"),
        ("### Instruction:\nHi\n\n### Response:\n", "Alpaca"),
        ("A chat. USER: Hi ASSISTANT:", "Vicuna"),
        ("\n\nHuman: Hi\n\nAssistant:", "Human/Assistant"),
        ("<｜User｜>Hi<｜Assistant｜>", "DeepSeek"),
    ],
)
def test_template_text_in_conversations(text: str, family: str) -> None:
    rows = [*plain(), *[(said(text), said(f"yes {n}", "assistant"), n < 2) for n in range(3)]]
    finding = found(build_report(survey_of(rows)), "template_text")
    assert f"({family})" in finding.message
    assert (finding.rows, finding.severity) == (3, "warning")
    assert finding.examples[0] == "a.jsonl, row 201"


@pytest.mark.parametrize(
    "text", ["a <b> c", "x[0] # a comment", "## Response", "Assistant: yes", "a | b |> c"]
)
def test_what_is_no_template_text(text: str) -> None:
    assert build_report(survey_of([*plain(), (said(text), said("yes", "assistant"), True)])).findings == ()


def test_a_template_in_text_has_to_be_the_models() -> None:
    survey = survey_of([*plain(), ("<|im_start|>user\nHi<|im_end|>\n", "yes", True)])
    ours = build_report(survey, special_tokens={"<|im_start|>", "<|im_end|>"})
    assert found(ours, "template_text").severity == "info"
    assert found(build_report(survey, special_tokens={"<s>"}), "template_text").severity == "warning"
    unknown = found(build_report(survey), "template_text")
    assert "--model" in unknown.advice


def test_a_part_of_a_survey_is_as_one_of_those_rows() -> None:
    marked = [(said("<|im_start|>"), said(f"yes {n}", "assistant"), n % 2 == 0) for n in range(9)]
    rows = [*plain(), *marked, *plain()[:4], ("question 1", "answer 001", False)]
    part = np.array([*range(190, 210), 201, 1, 3, 213])
    view = survey_of(rows).chosen(part)
    alone = RowSurvey()
    for number in part.tolist():
        prompt, answer, label = rows[number]
        alone.add(Row(prompt, answer, label, f"a.jsonl, row {number + 1}"))
    assert len(view) == len(part)
    assert build_report(view) == build_report(alone)
    assert leaks(survey_of(plain()), view) == leaks(survey_of(plain()), alone)
    assert view.chosen(np.array([20])).where(0) == "a.jsonl, row 202"


def test_tokens() -> None:
    survey = survey_of(plain())
    prompts, answers = np.arange(200, dtype=np.int32), np.full(200, 20, dtype=np.int32)
    report = build_report(
        survey, prompt_lengths=prompts, completion_lengths=answers, max_length=190, dropped={"unrated": 7}
    )
    assert report.dropped == {"unrated": 7, "the prompt fills the length": 10}
    assert report.desirable + report.undesirable == 190
    assert report.truncated == 19  # Prompts of 171 to 189 tokens.
    assert report.prompt_tokens["max"] == 199
    assert sum(each.rows for each in report.histogram) == 200
    assert found(report, "prompt_fills_length").examples[0] == "a.jsonl, row 191"
    assert "whole with --max-length 256" in found(report, "truncated").advice


def test_a_class_whose_prompts_all_fill_the_length() -> None:
    survey = survey_of(plain())
    prompts = np.where(survey.labels, 5, 50)
    report = build_report(survey, prompt_lengths=prompts, completion_lengths=prompts, max_length=20)
    assert "none of the 67 undesirable rows" in found(report, "class_lost").message
    assert report.findings[0].severity == "error"


def test_lengths_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 200"):
        build_report(
            survey_of(plain()), prompt_lengths=np.arange(3), completion_lengths=np.arange(3), max_length=9
        )


def test_leaks() -> None:
    evaluation = survey_of([plain()[3], ("question 5", "other", True), ("new", "other", False)], "e.jsonl")
    same, asked = leaks(survey_of(plain()), evaluation)
    assert (same.kind, same.rows, same.examples) == ("leaked_answers", 1, ("e.jsonl, row 1",))
    assert (asked.kind, asked.rows, asked.examples) == ("leaked_prompts", 1, ("e.jsonl, row 2",))
    assert leaks(survey_of(plain()), survey_of([("new", "other", True)])) == []


def test_a_row_takes_27_bytes_whatever_its_length() -> None:
    survey = survey_of([(f"q{n} " + "x" * 5000, "y" * 5000, True) for n in range(100)])
    assert survey.bytes == 2700


@pytest.mark.parametrize(
    "places",
    [
        [
            "a, row 1",
            "b, row 12, chosen",
            "c",
            "a, row 007",
            "d, row x",
            "a, row 2",
            ", row 3",
            "e, row 99999999999",
        ],
        [f"place {n}" for n in range(70_000)],
    ],
)
def test_places_are_told_as_given(places: Sequence[str]) -> None:
    survey = RowSurvey()
    for place in places:
        survey.add(Row("q", "a", True, place))
    told = [survey.where(row) for row in range(0, len(places), max(1, len(places) // 100))]
    expected = [places[row] for row in range(0, len(places), max(1, len(places) // 100))]
    if len(places) < 65_535:
        assert [place.replace("row 7", "row 007") for place in told] == expected
    else:  # The memory is bounded.
        assert told[:50] == expected[:50]
        assert told[-1] == "row 69301 as read"


@pytest.mark.parametrize(
    "lengths", [[5], [0, 0], [1, 1000], list(range(30)), [3] * 9 + [100_000], [70, 71, 95]]
)
def test_bars_hold_every_row(lengths: list[int]) -> None:
    drawn = bars(np.array(lengths))
    assert sum(each.rows for each in drawn) == len(lengths)
    assert len(drawn) <= 13
    below = 0
    for each in drawn:
        expected = sum(each.tokens >= length > below or (length == 0 == below) for length in lengths)
        assert each.rows == expected or each is drawn[0]
        below = each.tokens
    assert drawn[-1].tokens >= max(lengths)
    assert Counter(spread(np.array(lengths)).keys()) == Counter(["p5", "p50", "p95", "p99", "max"])


def test_share_longer() -> None:
    assert share_longer(np.array([2, 3]), np.array([1, 2])) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
