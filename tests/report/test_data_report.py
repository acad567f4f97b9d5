"""The data report as text: what it says, that it fits, and in any terminal."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kto_tui.core.datareport import Bin, DataReport, Finding, SourceRead
from kto_tui.core.events import DataReported, StageChanged
from kto_tui.report.data_report import format_checked, format_report, short_report
from kto_tui.report.frame import Frame
from kto_tui.report.width import display_width
from tests.report.test_table import printed

REPORT = DataReport(
    sources=(
        SourceRead(
            name="rated/train.jsonl",
            format="TRL unpaired",
            records=55,
            rows=110,
            weight=2,
            unread=("context", "3 more"),
        ),
    ),
    desirable=60,
    undesirable=40,
    weights=(1.0, 1.125),
    max_length=1024,
    truncated=4,
    dropped={"the prompt fills the length": 10},
    prompt_tokens={"p5": 10, "p50": 40, "p95": 200, "p99": 900, "max": 2000},
    completion_tokens={"p5": 5, "p50": 90, "p95": 300, "p99": 400, "max": 500},
    histogram=(Bin(tokens=512, rows=100), Bin(tokens=1024, rows=0), Bin(tokens=2048, rows=10)),
    findings=(
        Finding(
            kind="duplicates", severity="warning", message="repeats: 3 of 110 rows", advice="leave them out"
        ),
        Finding(kind="both_labels", severity="info", message="8 prompts have both", examples=("a, row 1",)),
    ),
)


def test_everything_is_said() -> None:
    lines = format_report(REPORT, "train", Frame())
    assert lines[0] == "TRAINING DATA: 100 rows"
    text = "\n".join(lines)
    for words in (
        "Read        rated/train.jsonl\n            TRL unpaired\n",
        "            55 records taken 2 times, 110 rows\n            not read: context, 3 more\n",
        "Desirable   ████████████████████████░░░░░░░░░░░░░░░░\n            60 (60%); 40 undesirable",
        "Weights     1 : 1.125 in the loss",
        "  prompts           10        40       200       900     2,000",
        "      ≤ 512 ████████████████████████████████ 100\n    ≤ 1,024 0\n    ≤ 2,048 ███ 10",
        "Truncated   4\nLeft out    10: the prompt fills the length",
        "WARNING     repeats: 3 of 110 rows\n            Leave them out\nNOTE        8 prompts have both",
        "            · a, row 1",
    ):
        assert words in text, text


def test_ascii_and_colour() -> None:
    lines = format_report(REPORT, "train", Frame(unicode=False))
    assert "\n".join(lines).isascii()
    assert "     <= 512 ######" in "\n".join(lines)
    coloured = format_report(REPORT, "train", Frame(color=True))
    assert "\x1b[33m" in "\n".join(coloured)
    assert "\x1b" not in "\n".join(lines)


def test_without_a_tokenizer() -> None:
    text = "\n".join(format_report(DataReport(desirable=3, undesirable=1), "eval", Frame()))
    assert "EVALUATION DATA: 4 rows" in text
    assert "not counted: name the model with --model-size or --model" in text
    assert "Nothing to complain about." in text


def test_one_row_is_one_row() -> None:
    source = SourceRead(name="a.jsonl", format="TRL", records=1, rows=1)
    text = "\n".join(format_report(DataReport(sources=(source,), desirable=1), "train", Frame()))
    assert text.startswith("TRAINING DATA: 1 row\n")
    assert " 1 record, 1 row\n" in text


def test_bad_rows_are_told_and_the_rest_counted() -> None:
    bad = Finding(
        kind="bad_rows", severity="error", message="25 rows", rows=25, examples=("a, row 1: wrong",)
    )
    lines = format_checked({"train": DataReport(findings=(bad,))}, {"train": ["a, row 1: wrong"]}, Frame())
    assert lines[:3] == ["a, row 1: wrong", "... and 24 more such rows", ""]
    assert "\n".join(lines).count("a, row 1") == 1


texts = st.text(max_size=200)


@settings(max_examples=60, deadline=None)
@given(texts, texts, texts, st.integers(0, 2**53), st.booleans(), st.integers(40, 120))
def test_it_fits_whatever_it_holds(
    name: str, message: str, place: str, count: int, unicode: bool, width: int
) -> None:
    report = DataReport(
        sources=(SourceRead(name=name, format=message, records=count, rows=count, unread=(message,)),),
        desirable=count,
        undesirable=1,
        max_length=count,
        dropped={message: count},
        prompt_tokens={"p50": float(count)},
        completion_tokens={"max": float(count)},
        histogram=(Bin(tokens=count, rows=count), Bin(tokens=count, rows=1)),
        findings=(Finding(kind=name, severity="error", message=message, advice=name, examples=(place,)),),
    )
    for line in format_report(report, "train", Frame(unicode=unicode), max(width, 80)):
        assert display_width(line) <= max(width, 80), line
        assert "\n" not in line
        assert not any(unicodedata.category(char) == "Cc" for char in line)
        assert unicode or line.isascii()


def test_the_short_form_leaves_notes_out() -> None:
    (read, tone), (warning, its_tone) = short_report(REPORT, "train")
    assert read == (
        "Data read: rated/train.jsonl (TRL unpaired, 110 rows); the longest: prompts 900/2,000, "
        "answers 400/500 tokens (p99/max)"
    )
    assert (tone, its_tone) == ("plain", "warning")
    assert warning == "WARNING: repeats: 3 of 110 rows. Leave them out"
    assert short_report(DataReport(), "eval")[0][0] == "Evaluation data read: no source"


@pytest.mark.parametrize(("begun", "lines"), [(False, 2), (True, 0)])
def test_the_table_prints_it_before_training(begun: bool, lines: int) -> None:
    event = DataReported(time=1, split="train", report=REPORT)
    start = [StageChanged(time=1, stage="training")] if begun else []
    assert len(printed([*start, event])) - len(printed([*start])) == lines
