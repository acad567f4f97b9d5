"""Several data sets in one setting."""

from pathlib import Path

import pytest

from kto_tui.core.config import settings
from kto_tui.core.errors import UserError
from kto_tui.core.mixture import Weighted, joined, split_sources
from kto_tui.core.resolve import resolve
from kto_tui.core.setting import convert


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.jsonl", [("a.jsonl", 1)]),
        ("a.jsonl=2, b.jsonl", [("a.jsonl", 2), ("b.jsonl", 1)]),
        ("owner/name:en:test=0.25", [("owner/name:en:test", 0.25)]),
        ("~/x/a.csv,", [("~/x/a.csv", 1)]),
        ("", [("", 1)]),
    ],
)
def test_sources_and_their_weights(text: str, expected: list[tuple[str, float]]) -> None:
    assert split_sources(text) == tuple(Weighted(*each) for each in expected)


@pytest.mark.parametrize("text", ["a.jsonl=x", "a.jsonl=0", "a.jsonl=-1", "a=nan", "=2", "a=1001", "a="])
def test_a_weight_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected a number above 0"):
        split_sources(text)


def test_a_file_s_whole_name_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.jsonl", "beta=0.1.jsonl"):
        (tmp_path / name).touch()
    assert split_sources("a,b.jsonl") == (Weighted("a,b.jsonl"),)
    assert split_sources("beta=0.1.jsonl") == (Weighted("beta=0.1.jsonl"),)
    assert split_sources("beta=0.1.jsonl=3,c") == (Weighted("beta=0.1.jsonl", 3), Weighted("c"))


def test_joined_is_taken_apart_again() -> None:
    sources = (Weighted("a.jsonl", 2), Weighted("b"), Weighted("c:d:e", 0.125))
    assert split_sources(joined(sources)) == sources


@pytest.mark.parametrize("weight", ["2", "0.5", "0.1234567", "999.9999999", "1e-07"])
def test_a_weight_is_written_as_it_was_read(weight: str) -> None:
    """A resumed run is asked for the data that its own settings name."""
    sources = split_sources(f"a.jsonl={weight}")
    assert split_sources(joined(sources)) == sources
    assert joined(sources) == f"a.jsonl={weight}"


def test_a_list_of_a_settings_file_and_a_repeated_option_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("model: m\ndataset: [a.jsonl=2, b.jsonl]\n")
    asked = resolve({"model": "m", "dataset": ["a.jsonl=2", "b.jsonl"]})
    assert resolve({}, file).dataset == asked.dataset == "a.jsonl=2,b.jsonl"


def test_batch_size_may_be_left_to_the_plan() -> None:
    setting = settings()["batch_size"]
    assert convert(setting, "auto", "") == 0
    assert convert(setting, "8", "") == 8
    with pytest.raises(UserError, match="expected a whole number of at least 2, or auto"):
        convert(setting, "many", "--batch-size")
