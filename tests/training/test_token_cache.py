import os
import re
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from kto_tui.data import Row
from kto_tui.training.spool import encoded
from kto_tui.training.tiny import build_tokenizer
from kto_tui.training.token_cache import SUFFIX, UNFINISHED, TokenCache, tokens_key
from kto_tui.training.token_file import Tokenized, TokenizedRow

KEY, OTHER, THIRD = ("1" * 40, "2" * 40, "3" * 40)
ROWS = [Row("Hi ", "yes", True, "row 1"), Row([{"role": "user", "content": "é"}], [], False, "row 2")]


def tokenized(count: int = 3, first: int = 0) -> Tokenized:
    return Tokenized.of(content(count, first))


def content(count: int = 3, first: int = 0) -> list[TokenizedRow]:
    return [([first + n, 7], [n] * n, n % 2 == 0, n % 3 == 0) for n in range(count)]


def put(cache: TokenCache, key: str, rows: list[TokenizedRow]) -> Tokenized | None:
    return cache.fill(key, rows)


def same(one: Tokenized | None, other: Tokenized) -> bool:
    pairs = [(getattr(one and one.rows, name), getattr(other.rows, name)) for name in vars(other.rows)]
    pairs.append((one and one.shifted, other.shifted))
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def the_key(rows: list[Row], tokenizer: PreTrainedTokenizerFast | None = None) -> str:
    key = tokens_key(map(encoded, rows), tokenizer or build_tokenizer())
    assert key is not None
    return key


def test_what_is_put_is_found_by_another_run(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path / "new" / "root")
    assert cache.get(KEY) is None
    put(cache, KEY, content())
    again = TokenCache(tmp_path / "new" / "root")
    assert same(again.get(KEY), tokenized())
    assert again.get(OTHER) is None
    assert cache.problem is again.problem is None


def test_no_rows_are_kept_too(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path)
    put(cache, KEY, content(0))
    assert same(cache.get(KEY), tokenized(0))


def test_only_the_user_may_read_them(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path / "root")
    put(cache, KEY, content())
    modes = {path.name: path.stat().st_mode & 0o777 for path in (cache.path.parent, *cache.path.rglob("**"))}
    assert set(modes.values()) == {0o700}
    assert [file.stat().st_mode & 0o777 for file in cache.path.iterdir()] == [0o600]


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        *(flip(at) for at in (0, 15, 20, 37, 45, 60, -40, -1)),
        lambda data: data[:-1],
        lambda data: data[:30],
        lambda _: b"",
        lambda data: data + b"\0",
        lambda _: b"something else altogether" * 9,
    ],
)
def test_what_is_damaged_counts_as_absent_and_is_written_anew(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    cache = TokenCache(tmp_path)
    put(cache, KEY, content())
    (file,) = cache.path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get(KEY) is None
    put(cache, KEY, content())
    assert same(cache.get(KEY), tokenized())


def test_any_flipped_byte_is_noticed(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path)
    put(cache, KEY, content())
    (file,) = cache.path.iterdir()
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(flip(at)(whole))
        assert cache.get(KEY) is None


def test_a_file_of_another_key_counts_as_absent(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path)
    put(cache, OTHER, content())
    (cache.path / f"{OTHER}{SUFFIX}").rename(cache.path / f"{KEY}{SUFFIX}")
    assert cache.get(KEY) is None


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path)
    for age, key in enumerate((KEY, OTHER), start=1):
        put(cache, key, content(100))
        os.utime(cache.path / f"{key}{SUFFIX}", (1000.0 * age, 1000.0 * age))
    assert cache.get(KEY) is not None
    file_bytes = (cache.path / f"{KEY}{SUFFIX}").stat().st_size
    small = TokenCache(tmp_path, limit_bytes=2 * file_bytes)
    put(small, THIRD, content(100))
    assert [small.get(key) is not None for key in (KEY, OTHER, THIRD)] == [True, False, True]
    assert sum(file.stat().st_size for file in cache.path.iterdir()) <= small.limit_bytes


def test_what_is_larger_than_the_limit_is_not_kept_and_drives_nothing_out(tmp_path: Path) -> None:
    put(TokenCache(tmp_path), KEY, content())
    cache = TokenCache(tmp_path, limit_bytes=500)
    put(cache, OTHER, content(100))
    assert "above the limit" in str(cache.problem)
    assert cache.get(OTHER) is None
    assert cache.get(KEY) is not None


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path)
    cache.path.mkdir()
    left, young = (cache.path / f"{name}{UNFINISHED}" for name in ("left", "young"))
    left.touch()
    young.touch()
    os.utime(left, (1000.0, 1000.0))
    stranger = cache.path / "notes.txt"
    stranger.touch()
    os.utime(stranger, (1000.0, 1000.0))
    put(cache, KEY, content())
    assert not left.exists()
    assert young.exists()
    assert stranger.exists()


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    def write_often(first: int) -> str | None:
        cache = TokenCache(tmp_path)
        for _ in range(50):
            put(cache, KEY, content(200, first))
            found = cache.get(KEY)
            assert any(same(found, tokenized(200, other)) for other in (0, 1000))
        return cache.problem

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(write_often, (0, 1000))) == [None, None]
    assert [file.name for file in TokenCache(tmp_path).path.iterdir()] == [f"{KEY}{SUFFIX}"]


def test_a_folder_that_cannot_be_made_is_a_problem_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = TokenCache(tmp_path / "file")
    assert cache.get(KEY) is None
    put(cache, KEY, content())
    assert re.search(
        r"file/tokens: tokenized rows cannot be kept there: Not a directory$", str(cache.problem)
    )


def test_a_disk_that_fills_up_is_a_problem_and_leaves_nothing(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        put(cache, KEY, content(200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in str(cache.problem)
    assert list(cache.path.iterdir()) == []
    put(cache, KEY, content(200))
    assert cache.problem is None


def test_a_key_is_the_same_for_the_same_rows_and_tokenizer() -> None:
    moved = [replace(row, where="elsewhere") for row in ROWS]
    used = build_tokenizer()
    used(["a", "bb"], padding=True, truncation=True, max_length=4)
    assert the_key(ROWS) == the_key(moved) == the_key(ROWS, used)


def test_a_key_changes_with_each_row() -> None:
    other_rows = [
        ROWS[::-1],
        ROWS[:1],
        [*ROWS, ROWS[0]],
        [replace(ROWS[0], label=False), ROWS[1]],
        [replace(ROWS[0], prompt="Hi"), ROWS[1]],
        [replace(ROWS[0], prompt="Hi y", completion="es"), ROWS[1]],
        [ROWS[0], replace(ROWS[1], prompt=[{"role": "system", "content": "é"}])],
        [ROWS[0], replace(ROWS[1], tools=[{"name": "f"}])],
    ]
    assert len({the_key(rows) for rows in (ROWS, *other_rows)}) == 9


def with_template(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = "{{ messages }}"


def with_other_end(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.eos_token = "<|pad|>"


def with_more_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.add_tokens(["yes"])


def with_beginning(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|user|> $A", special_tokens=[("<|user|>", 3)]
    )


def with_split_specials(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.split_special_tokens = True


@pytest.mark.parametrize(
    "change", [with_template, with_other_end, with_more_tokens, with_beginning, with_split_specials]
)
def test_a_key_changes_with_the_tokenizer(change: Callable[[PreTrainedTokenizerFast], None]) -> None:
    other = build_tokenizer()
    change(other)
    assert the_key(ROWS, other) != the_key(ROWS)


def test_a_template_that_writes_the_date_makes_a_key_for_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    dated = build_tokenizer()
    dated.chat_template = "{{ strftime_now('%d %b %Y') }}" + str(dated.chat_template)

    def on(day: int, tokenizer: PreTrainedTokenizerFast | None = None) -> str:
        class Today(date):
            @classmethod
            def today(cls) -> "Today":
                return cls(2026, 3, day)

        monkeypatch.setattr("kto_tui.training.token_cache.date", Today)
        return the_key(ROWS, tokenizer)

    assert on(1, dated) == on(1, dated) != on(2, dated)
    assert on(1) == on(2)


def test_a_tokenizer_that_cannot_be_written_down_has_no_key() -> None:
    class Plain:
        chat_template = None

    assert tokens_key([], Plain()) is None  # type: ignore[arg-type]
