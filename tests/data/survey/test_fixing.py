"""Reading data sets whole, and writing what is worth keeping of them."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import UnexplainedScale
from kto_tui.data.load import TIED, UNRATED, load_rows
from kto_tui.data.rows import Columns, Row
from kto_tui.data.survey.checking import Checked, check
from kto_tui.data.survey.fixing import write_fixed
from kto_tui.data.survey.reading import DataSets, Lengths
from tests.data.files.writing import written


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


def test_bad_rows_are_counted_and_the_first_of_each_reason_told(tmp_path: Path) -> None:
    maybe = [rated(f"q{n}", "a", "maybe") for n in range(700)]
    records = [rated("q", "a", False), *maybe, rated("z", "a"), rated("y", 5)]
    checked = run(write(tmp_path / "a.jsonl", records))
    bad = checked.bad["train"]
    assert (bad.count, len(bad.first), checked.errors) == (701, 6, True)
    assert bad.first[0].startswith(f"{tmp_path}/a.jsonl, row 2:")
    report = checked.reports["train"]
    assert (report.desirable, report.undesirable) == (1, 1)
    assert report.dropped == {'"label" is "maybe"': 700, '"completion" is 5': 1}
    assert bad.first[-1].startswith(f"{tmp_path}/a.jsonl, row 703:")


TEXT = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5)
# As people write them: with nulls that say something, and with keys that others lack.
# Their order is that of what is trained on.
VALUES = st.dictionaries(st.sampled_from("abz"), st.none() | TEXT).map(
    lambda held: {"z": "", "always": "x", **held}
)


def talks(tool: Any, arguments: Any) -> dict[str, list[Any]]:
    """A conversation in which a tool is called, in several of the formats that are read."""
    call = {"id": "1", "function": {"name": "f", "arguments": arguments}}
    calls = {"role": "assistant", "content": None, "tool_calls": [call]}
    asked = [{"role": "user", "content": "q"}, calls, {"role": "tool", "content": "r", "name": "f"}]
    said = [{"role": "assistant", "content": "a"}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": tool}}]
    turns = [{"from": "human", "value": "q"}, {"from": "function_call", "value": json.dumps(call)}]
    pair = {"chosen": said, "rejected": [calls], "tools": tools}
    return {
        "messages": [{"messages": asked + said, "label": True, "tools": tools}],
        "calls": [{"prompt": asked[:1], "completion": [calls], "label": False, "tools": json.dumps(tools)}],
        "sharegpt": [{"conversations": turns, "kto_tag": True, "tools": json.dumps([tools[0]["function"]])}],
        "pairs": [{"prompt": asked, **pair}, {"prompt": asked[:1], **pair, "tools": None}],
        "preferences": [
            {
                "input": {"messages": asked, "tools": tools},
                "preferred_output": said,
                "non_preferred_output": [calls],
            }
        ],
        "traces": [{"input": {"messages": asked, "tools": tools}, "output": calls, "feedback": "👍"}],
    }


def contents(path: Path) -> list[str]:
    """The rows as templates print them: keys in the order of the file."""
    return [
        json.dumps((row.prompt, row.completion, row.label, row.tools))
        for row in load_rows(str(path), Columns())
    ]


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet", "arrow"])
@given(tools=st.lists(VALUES, min_size=2, max_size=2), arguments=st.lists(VALUES, min_size=2, max_size=2))
@example([{"a": None}, {"b": "x"}], [{"a": None}, {"b": "x"}])
@settings(max_examples=5, deadline=None)
def test_a_fixed_file_trains_as_its_source(kind: str, tools: list[Any], arguments: list[Any]) -> None:
    both = [talks(*pair) for pair in zip(tools, arguments, strict=True)]
    for name in both[0]:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, f"{name}.{kind}"), Path(folder, "fixed.jsonl")
            source.write_bytes(written(kind, both[0][name] + both[1][name]))
            run(source, fix=target)
            rows = contents(source)
            assert contents(target) == [row for place, row in enumerate(rows) if row not in rows[:place]]


def test_nulls_that_were_written_are_trained_on(tmp_path: Path) -> None:
    for name, records in talks({"default": None}, {"given": None}).items():
        rows = " ".join(contents(write(tmp_path / f"{name}.jsonl", records)))
        assert ('"default": null' in rows, '"given": null' in rows) == (True, True), name


def test_text_and_conversations_need_a_file_each(tmp_path: Path) -> None:
    talk = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "label": True}
    ]
    text, talks = write(tmp_path / "a.jsonl", [rated("r", "a", False)]), write(tmp_path / "b.jsonl", talk)
    checked = run(f"{talks},{text}", fix=tmp_path / "c.jsonl")
    assert checked.not_written.endswith(
        "text and conversations need a file each; run --fix on each data set alone"
    )


def test_files_of_a_folder_that_are_left_out_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("jan", "test"):
        write(folder / f"{name}.jsonl", [rated("q", "a"), rated("r", "b", False)])
    told = [f for f in run(folder).reports["train"].findings if f.kind == "files_left_out"]
    assert [(f.severity, f.message) for f in told] == [
        ("info", f"{folder}: test.jsonl is not read, as test or validation data by its name")
    ]
    write(folder / "dev-team.jsonl", [])
    told = [f for f in run(folder).reports["train"].findings if f.kind == "files_left_out"]
    assert [f.severity for f in told] == ["warning"]
    assert "dev-team.jsonl, test.jsonl are not read" in told[0].message


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
    checked = check(config, lambda _: None, fix=tmp_path / "b.jsonl")
    worst = checked.reports["train"].findings[0]
    assert (worst.kind, worst.severity) == ("misjudged", "error")
    assert "v.jsonl: all ratings are 0 or 1, and --desirable-at-least 4" in worst.message
    assert [source.rows for source in checked.reports["train"].sources] == [10, 10]
    assert "nothing was written" in checked.not_written
    assert not (tmp_path / "b.jsonl").exists()


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
    torn = write(tmp_path / "c.jsonl", [rated("q", "a"), rated("q", "a", False)])
    checked = run(torn, fix=tmp_path / "b.jsonl")
    assert "no row is left" in checked.not_written
    assert (checked.errors, checked.reports["train"].desirable) == (True, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "c.jsonl"]


def test_a_place_that_takes_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [rated("q", "a")])
    checked = run(source, fix=tmp_path / ("b" * 249 + ".jsonl"))
    assert "cannot be written: File name too long" in checked.not_written
    assert checked.reports["train"].desirable == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="this user may write everywhere")
def test_a_folder_that_takes_nothing_is_told_before_reading(tmp_path: Path) -> None:
    source, closed = write(tmp_path / "a.jsonl", [rated("q", "a")]), tmp_path / "closed"
    closed.mkdir(mode=0o555)
    with pytest.raises(UserError, match="nothing can be written in the folder"):
        run(source, fix=closed / "b.jsonl")


def test_a_fixed_file_does_not_join_the_data_it_is_made_of(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    (folder / "below").mkdir(parents=True)
    write(folder / "a.jsonl", [rated("q", "a")])
    for target in (folder / "b.jsonl", folder / "below" / ".." / "below" / "b.jsonl"):
        with pytest.raises(UserError, match="it would lie among the data"):
            run(f"{folder}=2", fix=target)
    assert run(folder, fix=tmp_path / "b.jsonl").fixed is not None


def test_a_file_that_would_be_read_in_another_way_is_not_written(tmp_path: Path) -> None:
    """Without the repeats, most answers look like chats; among the first rows of the source none do."""
    chats = [rated(f"q{n}", '[{"role": "assistant", "content": "x"}]', n % 2 == 0) for n in range(9)]
    source = write(tmp_path / "a.jsonl", [*[rated("q", "text")] * 20, *chats])
    checked = run(source, fix=tmp_path / "b.jsonl")
    assert "nothing was written, since it could not be read back (row 1)" in checked.not_written
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_leaks_into_the_evaluation(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [rated("q", "a"), rated("r", "a", False)])
    config = RunConfig(dataset=str(source), eval_dataset=str(write(tmp_path / "e.jsonl", [rated("q", "a")])))
    reports = check(config, lambda _: None).reports
    assert "leaked_answers" in {finding.kind for finding in reports["eval"].findings}
    assert reports["eval"].weights is None
