"""Data sets once they are opened: weights, mixtures, bad rows, and no more in memory than needed."""

import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.data.load import check_rows, load_rows, open_dataset
from kto_tui.data.rows import Columns
from tests.data.formats.reading import assistant, opened, user, written

GOOD = {"prompt": "a", "completion": "b", "label": True}


def numbered(count: int) -> list[dict[str, Any]]:
    return [{**GOOD, "prompt": str(n), "label": n % 2 == 0} for n in range(count)]


def prompts(dataset: str, seed: int = 42) -> list[Any]:
    return [row.prompt for row in load_rows(dataset, Columns(), seed)]


def test_columns_of_a_run() -> None:
    config = RunConfig(prompt_column="q", completion_column="a", label_column="r", desirable_at_least=4)
    assert Columns.of(config) == Columns("q", "a", "r", 4)


def test_several_data_sets_in_several_formats(tmp_path: Path) -> None:
    first = written(tmp_path, numbered(2))
    talk = {"messages": [user("a"), assistant("b")], "label": True}
    second = written(tmp_path, [talk], "talks.json")
    names = [part.format.name for part in open_dataset(f"{first},{second}", Columns())]
    assert names == ["TRL unpaired, text", "messages (OpenAI, ms-swift)"]
    counts = check_rows(f"{first},{second},builtin:sample", Columns())
    assert (counts.desirable, counts.undesirable) == (162, 161)


def test_a_whole_weight_takes_each_row_so_often(tmp_path: Path) -> None:
    path = written(tmp_path, numbered(3))
    assert Counter(prompts(f"{path}=3")) == {"0": 3, "1": 3, "2": 3}


def test_a_part_of_the_rows_is_drawn_by_the_seed(tmp_path: Path) -> None:
    path = written(tmp_path, numbered(2000))
    half = prompts(f"{path}=0.5")
    assert 900 < len(half) < 1100
    assert len(set(half)) == len(half)
    assert half == prompts(f"{path}=0.5") == [p for p in prompts(str(path)) if p in set(half)]
    assert half != prompts(f"{path}=0.5", seed=43)
    more = Counter(prompts(f"{path}=2.5"))
    assert set(more.values()) == {2, 3}
    assert [p for p in more if more[p] == 3] == half


def test_both_rows_of_a_pair_are_drawn_together(tmp_path: Path) -> None:
    pairs = [{"prompt": str(n), "chosen": "good", "rejected": "bad"} for n in range(200)]
    counts = check_rows(f"{written(tmp_path, pairs)}=0.5", Columns())
    assert counts.desirable == counts.undesirable
    assert 70 < counts.desirable < 130


def test_bad_rows_are_told_and_skipped(tmp_path: Path) -> None:
    records = [GOOD, {**GOOD, "label": "maybe"}, {**GOOD, "prompt": ""}, GOOD]
    source = opened(written(tmp_path, records))
    told: list[UserError] = []
    assert len(list(source.rows(told.append))) == 2
    assert [str(error).partition(", ")[2].partition(";")[0] for error in told] == [
        'row 2: "label" is "maybe"',
        'row 3: "prompt" is empty',
    ]
    assert source.records == 4
    with pytest.raises(UserError, match="row 2"):
        list(source.rows())


def test_a_file_that_breaks_off_is_told_once_the_rows_before_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + "{")
    source = opened(path)
    for _ in range(2):
        rows = source.rows(lambda _: None)
        assert next(rows).label
        with pytest.raises(UserError, match="line 2"):
            next(rows)


def test_rows_can_be_read_again(tmp_path: Path) -> None:
    source = opened(written(tmp_path, numbered(50)))
    assert list(source.rows()) == list(source.rows())
    assert source.records == 50


@pytest.mark.parametrize("name", ["a.parquet", "b/part-0.parquet"])
def test_of_columnar_files_only_the_columns_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    table = pa.Table.from_pylist([{**record, "embedding": [0.5] * 8} for record in numbered(30)])
    pq.write_table(table, path)
    asked: list[Any] = []
    iterate = pq.ParquetFile.iter_batches

    def noted(self: Any, *args: Any, **options: Any) -> Any:
        asked.append(options.get("columns"))
        return iterate(self, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    source = opened(path if name == "a.parquet" else path.parent)
    assert len(list(source.rows())) == 30
    assert asked[0] is None
    assert sorted(asked[-1]) == ["completion", "label", "prompt"]


def test_memory_stays_flat(tmp_path: Path) -> None:
    path = written(tmp_path, [{**record, "completion": "x" * 1000} for record in numbered(4000)])
    opened(path)
    tracemalloc.start()
    assert sum(1 for _ in opened(path).rows()) == 4000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2


def test_what_is_in_no_known_format(tmp_path: Path) -> None:
    path = written(tmp_path, [{"text": "a", "stars": 3}])
    found = f'{path}, row 1: no column "prompt"; found text, stars (choose one with --prompt-column)'
    with pytest.raises(UserError) as error:
        open_dataset(str(path), Columns())
    assert str(error.value) == (
        f"{found}; known formats: TRL, LLaMA-Factory, Axolotl, ms-swift, HALOs, OpenAI messages or"
        " preferences, Argilla, Label Studio, traces with a score"
    )


def test_rows_of_another_form_further_down(tmp_path: Path) -> None:
    path = written(tmp_path, [GOOD] * 30 + [{"messages": [user("a"), assistant("b")], "label": True}, [1]])
    with pytest.raises(UserError, match='row 31: no column "prompt"; found messages, label'):
        list(load_rows(str(path), Columns()))
    told: list[UserError] = []
    assert len(list(opened(path).rows(told.append))) == 30
    assert str(told[1]).endswith("row 32: found a list; expected an object with prompt, completion and label")
