"""Reading data sets whole, and writing what is worth keeping of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import UnexplainedScale
from kto_tui.data.load import TIED, UNRATED, load_rows
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
    report = checked.reports["train"]
    rows = list(load_rows(f"{source}=0.5,{source}=3", Columns()))
    assert [(read.rows, read.weight) for read in report.sources] == [(len(rows) - 30, 0.5), (30, 3.0)]
    assert 0 < report.sources[0].rows < 10
    good = sum(row.label for row in rows)
    assert (report.desirable, report.undesirable) == (good, len(rows) - good)
    assert checked.fixed is not None
    assert (checked.fixed.rows, checked.fixed.left_out) == (10, {"duplicates": 10})
    assert checked.fixed.weighted == [f"{source}=0.5", f"{source}=3"]


def test_weights_of_data_sets_count_in_the_classes_and_in_the_loss(tmp_path: Path) -> None:
    good = write(tmp_path / "g.jsonl", [rated(f"q{n}", "ok") for n in range(60)])
    bad = write(tmp_path / "b.jsonl", [rated(f"r{n}", "no!", False) for n in range(60)])
    report = run(f"{good}=4,{bad}", measure=by_characters).reports["train"]
    assert (report.desirable, report.undesirable, report.weights) == (240, 60, (1.0, 3.0))
    assert sum(each.rows for each in report.histogram) == 300


@pytest.mark.parametrize("labels", [[0, 1, 2, 5], [1, 0, -1], [*[0, 1] * 20, 3]])
def test_a_scale_that_nobody_explained_is_never_a_bad_row(tmp_path: Path, labels: list[int]) -> None:
    """Else the 0 and 1 of it would be written as bad and good."""
    source = write(tmp_path / "a.jsonl", [rated(f"q{n}", "a", label) for n, label in enumerate(labels)])
    with pytest.raises(UnexplainedScale, match="--desirable-at-least"):
        run(source, fix=tmp_path / "b.jsonl")
    assert not (tmp_path / "b.jsonl").exists()


def test_a_threshold_that_is_for_another_data_set(tmp_path: Path) -> None:
    stars = write(tmp_path / "s.jsonl", [rated(f"q{n}", "a", n % 5 + 1) for n in range(10)])
    votes = write(tmp_path / "v.jsonl", [rated(f"r{n}", "a", n % 2) for n in range(10)])
    config = RunConfig(dataset=f"{stars},{votes}", desirable_at_least=4)
    with pytest.raises(UserError, match=r"v\.jsonl: all ratings are 0 or 1, and --desirable-at-least 4"):
        check(config, lambda _: None)


def test_a_data_set_of_one_class_among_others_is_named(tmp_path: Path) -> None:
    mixed = write(tmp_path / "m.jsonl", [rated(f"q{n}", f"a{n}", n % 2 == 0) for n in range(10)])
    good = write(tmp_path / "g.jsonl", [rated(f"r{n}", f"a{n}") for n in range(7)])
    (found,) = [f for f in run(f"{mixed},{good}").reports["train"].findings if f.kind == "one_class_source"]
    assert (found.severity, found.rows) == ("warning", 7)
    assert found.message == f"{good}: all 7 rows are desirable"


def test_records_without_a_row_are_worded_once(tmp_path: Path) -> None:
    """In training's report and in this one."""
    assert list(DataSets("builtin:sample", Columns()).read(None, lambda _: None).skipped) == [UNRATED, TIED]


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{**rated("q", "a"), "context": "c", "n\x1b": 1}])
    assert run(source).reports["train"].sources[0].unread == ("context", "n\\x1b")
    many = write(tmp_path / "b.jsonl", [{**rated("q", "a"), **{f"c{n}": 1 for n in range(40)}}])
    unread = run(many).reports["train"].sources[0].unread
    assert (unread[0], len(unread), unread[-1]) == ("c0", 13, "28 more")


def test_an_option_that_no_data_set_has_a_column_for(tmp_path: Path) -> None:
    pairs = write(
        tmp_path / "p.jsonl", [{"prompt": f"q{n}", "chosen": "a", "rejected": "b"} for n in range(9)]
    )
    stars = write(tmp_path / "s.jsonl", [{**rated("q", "a"), "stars": True}])
    for dataset, told in ((str(pairs), True), (f"{pairs},{stars}", False)):
        report = check(RunConfig(dataset=dataset, label_column="stars"), lambda _: None).reports["train"]
        assert any("--label-column" in f.message for f in report.findings) is told


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
