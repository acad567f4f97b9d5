"""What a chat template leaves out of rows, as check-data and a run tell it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from kto_tui.core.config import RunConfig
from kto_tui.core.datareport import DataReport
from kto_tui.data import Row
from kto_tui.data.survey import RowSurvey, build_report
from kto_tui.data.survey.extras import extras_of, without
from kto_tui.training.dataset import Prepared, prepare
from kto_tui.training.left_out import left_out
from kto_tui.training.reading import ReadRows, Split, reports
from kto_tui.training.spool import RowSpool
from kto_tui.training.tiny import build_tokenizer

ASKED = [{"role": "user", "content": "q"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
CALL: list[dict[str, Any]] = [
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}
]
THOUGHT = [{"role": "assistant", "content": "a", "reasoning_content": "hm"}]
PLAIN = [{"role": "assistant", "content": "a"}]
ROWS = [(CALL, TOOLS), (PLAIN, TOOLS), (PLAIN, None), (THOUGHT, None)]
WHOLE = (
    "{% if tools %}{{ tools }}{% endif %}{% for message in messages %}"
    "{{ message.role + message.content }}{{ message.tool_calls }}{{ message.reasoning_content }}{% endfor %}"
)


def row(number: int, answer: Any, tools: Any) -> Row:
    return Row(ASKED, answer, number % 2 == 0, f"a.jsonl, row {number}", tools)


def surveyed(sources: int = 1) -> RowSurvey:
    survey = RowSurvey()
    for _ in range(sources):
        survey.begin_source()
        for number, (answer, tools) in enumerate(ROWS, 1):
            survey.add(row(number, answer, tools))
    return survey


def tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
    built = build_tokenizer()
    built.chat_template = template or built.chat_template
    return built


def told(report: DataReport) -> dict[str, int]:
    return {f.message: f.rows for f in report.findings if f.kind in ("not_in_template", "empty_answers")}


def test_what_the_template_has_no_place_for() -> None:
    survey = surveyed()
    assert survey.characters.min() == 1
    found = left_out(survey, tokenizer())
    assert [finding.severity for finding in found] == ["warning"] * 3
    assert told(build_report(survey, more=found)) == {
        "the model's chat template leaves out tools: 2 of 4 rows (50%)": 2,
        "the model's chat template leaves out calls of tools: 1 of 4 rows (25%)": 1,
        "the model's chat template leaves out reasoning of answers: 1 of 4 rows (25%)": 1,
        "empty answers: 1 of 4 rows (25%)": 1,
    }


def test_a_template_with_a_place_for_all_of_it() -> None:
    survey = surveyed()
    assert left_out(survey, tokenizer(WHOLE)) == []
    assert survey.characters.min() == 1


@pytest.mark.parametrize("broken", ["{% if not tools %}{{ raise_exception('no') }}{% endif %}" + WHOLE])
def test_a_template_that_cannot_do_without_has_a_place(broken: str) -> None:
    survey = RowSurvey()
    survey.add(row(1, PLAIN, TOOLS))
    assert left_out(survey, tokenizer(broken)) == []


def test_reasoning_of_earlier_turns_is_none() -> None:
    """Templates leave that out on purpose."""
    assert extras_of(Row([*ASKED, *THOUGHT, *ASKED], PLAIN, True, "")) == []


@pytest.mark.parametrize(("answer", "tools"), [each for each in ROWS if each[0] is not PLAIN or each[1]])
def test_without_it_the_row_is_as_it_was(answer: Any, tools: Any) -> None:
    given = row(1, answer, tools)
    for kind in extras_of(given):
        assert kind not in extras_of(without(given, kind))
    assert given == row(1, answer, tools)


def test_a_run_tells_it_of_the_rows_of_each_split(tmp_path: Path) -> None:
    whole, survey = RowSpool(tmp_path), surveyed(2)
    for number, (answer, tools) in enumerate([*ROWS, *ROWS], 1):
        whole.append(row(number, answer, tools))
    everything = ReadRows(whole, survey, (), {})
    parts: dict[Split, ReadRows] = {
        "train": everything.part(whole.chosen(np.arange(6))),
        "eval": everything.part(whole.chosen(np.arange(6, 8))),
    }
    config = RunConfig(dataset="a.jsonl", batch_size=2, max_length=512)
    made = tokenizer()
    prepared: dict[Split, Prepared] = {
        split: prepare(read.rows, made, config, lambda *_: None, source=None if split == "train" else "e")
        for split, read in parts.items()
    }
    found = reports(config, parts, prepared, made)
    assert told(found["eval"]) == {
        "the model's chat template leaves out reasoning of answers: 1 of 2 rows (50%)": 1
    }
    assert "empty answers: 2 of 6 rows (33.3%)" in told(found["train"])
