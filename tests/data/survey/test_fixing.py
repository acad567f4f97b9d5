"""Reading data sets whole, and writing what is worth keeping of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.data.load import load_rows
from kto_tui.data.rows import Columns, Row
from kto_tui.data.survey.checking import Checked, check
from kto_tui.data.survey.fixing import write_fixed
from kto_tui.data.survey.reading import DataSets, Lengths


def write(path: Path, records: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def rated(prompt: str, answer: Any, label: Any = True) -> dict[str, Any]:
    return {"prompt": prompt, "completion": answer, "label": label}


def run(data: Path | str, **options: Any) -> Checked:
    return check(RunConfig(dataset=str(data), max_length=8), lambda _: None, **options)


def by_characters(rows: Sequence[Row]) -> list[Lengths]:
    """A tokenizer of one token a character, which refuses what it does not like."""
    for row in rows:
        if "refuse" in str(row.prompt):
            raise UserError(f"{row.where}: no")
    return [(len(str(row.prompt)), len(str(row.completion))) for row in rows]


def test_what_is_left_out_is_told_and_the_rest_is_read_back(tmp_path: Path) -> None:
    records = [
        *[rated("q1", "yes"), rated("q2", "no", False), rated("q1", "yes")],
        *[rated("q3", "torn"), rated("q3", "torn", False), rated("q3", "torn")],
        *[rated("q4", ""), rated("q5", "ok", "maybe"), ["no", "row"]],
        *[rated("\ufeffq6", "with\0out\x1b"), rated("as long as it gets", "ok"), rated("refuse me", "ok")],
    ]
    source, target = write(tmp_path / "a.jsonl", records), tmp_path / "fixed.jsonl"
    before = source.read_bytes()
    checked = run(source, fix=target, measure=by_characters)
    fixed = checked.fixed
    assert fixed is not None
    assert fixed.left_out == {
        "contradictions (the same prompt and answer with both labels)": 2,
        "duplicates": 2,
        "prompts that fill --max-length 8": 1,
        "rows that cannot be trained on as written": 4,
    }
    assert (fixed.rows, fixed.cleaned) == (3, 1)
    rows = [(row.prompt, row.completion, row.label) for row in load_rows(str(target), Columns())]
    assert rows == [("q1", "yes", True), ("q2", "no", False), ("q6", "without", True)]
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "fixed.jsonl"]
    again = run(target)
    assert not {"bad_rows", "duplicates", "contradictions"} & {
        f.kind for f in again.reports["train"].findings
    }


def test_bad_rows_are_counted_and_the_first_twenty_told(tmp_path: Path) -> None:
    records = [rated("q", "a", False), *[rated(f"q{n}", "a", "maybe") for n in range(700)], rated("z", "a")]
    checked = run(write(tmp_path / "a.jsonl", records))
    bad = checked.bad["train"]
    assert (bad.count, len(bad.first), checked.errors) == (700, 20, True)
    assert bad.first[0].startswith(f"{tmp_path}/a.jsonl, row 2:")
    report = checked.reports["train"]
    assert (report.desirable, report.undesirable) == (1, 1)
    assert report.dropped == {'"label" is "maybe"': 700}


def test_conversations_tools_and_pairs_are_read_back_alike(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    chat = {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        "label": True,
        "tools": [tool],
    }
    pair = {"prompt": "p", "chosen": "good", "rejected": "bad"}
    for name, record in (("chat", chat), ("pair", pair)):
        source, target = write(tmp_path / f"{name}.jsonl", [record]), tmp_path / f"{name}-fixed.jsonl"
        run(source, fix=target)
        content = [
            [(r.prompt, r.completion, r.label, r.tools) for r in load_rows(str(path), Columns())]
            for path in (source, target)
        ]
        assert content[0] == content[1]


def test_each_row_once_whatever_the_weight(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [rated(f"q{n}", f"a{n}", n % 2 == 0) for n in range(10)])
    checked = run(f"{source}=0.5,{source}=3", fix=tmp_path / "b.jsonl")
    assert [(read.rows, read.weight) for read in checked.reports["train"].sources] == [(10, 0.5), (10, 3.0)]
    assert checked.fixed is not None
    assert (checked.fixed.rows, checked.fixed.left_out) == (10, {"duplicates": 10})


def test_a_file_that_breaks_off_is_told_and_the_next_one_read(tmp_path: Path) -> None:
    broken = write(tmp_path / "a.jsonl", [rated(f"q{n}", "a") for n in range(30)])
    broken.write_text(broken.read_text() + '{"prompt": \n')
    other = write(tmp_path / "b.jsonl", [rated("other", "a", False)])
    checked = run(f"{broken},{other}")
    assert (checked.reports["train"].desirable, checked.reports["train"].undesirable) == (30, 1)
    assert "line 31" in checked.bad["train"].broken_off[0]
    assert checked.errors


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.jsonl", "it is there already"), ("b.csv", "ends in .jsonl"), ("no/b.jsonl", "no folder")],
)
def test_targets_that_are_refused_before_anything_is_read(tmp_path: Path, name: str, words: str) -> None:
    source = write(tmp_path / "a.jsonl", [rated("q", "a")])
    with pytest.raises(UserError, match=words):
        run(source, fix=tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_nothing_is_left_behind_where_it_fails(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [rated("q", "a"), rated("r", "a")])
    data = DataSets(str(source), Columns())
    reading = data.read(None, lambda _: None)
    write(source, [rated("q", "a")])
    with pytest.raises(UserError, match="2 rows when they were checked, 1 now"):
        write_fixed(tmp_path / "b.jsonl", data, reading, 8)
    with pytest.raises(UserError, match="no row is left"):
        run(write(tmp_path / "c.jsonl", [rated("q", "a"), rated("q", "a", False)]), fix=tmp_path / "b.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "c.jsonl"]


def test_a_place_that_takes_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [rated("q", "a")])
    with pytest.raises(UserError, match="cannot be written: File name too long"):
        run(source, fix=tmp_path / ("b" * 249 + ".jsonl"))


def test_leaks_into_the_evaluation(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [rated("q", "a"), rated("r", "a", False)])
    config = RunConfig(dataset=str(source), eval_dataset=str(write(tmp_path / "e.jsonl", [rated("q", "a")])))
    reports = check(config, lambda _: None).reports
    assert "leaked_answers" in {finding.kind for finding in reports["eval"].findings}
    assert reports["eval"].weights is None
