"""The reference cache as a run uses it: what is put is found again, now and in later runs."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from kto_tui.training.reference import ReferenceCache, block_key, default_root

Values = NDArray[np.float32]


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def values(number: int, count: int = 16) -> Values:
    return (np.arange(number, number + count) / -7).astype(np.float32)


def fill(root: Path, numbers: range, namespace: str = "a") -> None:
    """What one earlier run has left."""
    with closing(ReferenceCache.open(root, namespace)) as cache:
        for number in numbers:
            cache.put(key(number), values(number))


def known(cache: ReferenceCache, numbers: range) -> list[int]:
    """The blocks among these that the cache has. What it has must be right."""
    found = []
    for number in numbers:
        if (got := cache.get(key(number))) is not None:
            assert_array_equal(got, values(number), strict=True)
            found.append(number)
    return found


def segments(root: Path, namespace: str = "a") -> list[Path]:
    return sorted((root / "reference" / namespace).glob("*.refs"))


def test_what_is_put_is_there_at_once_and_in_the_next_run(tmp_path: Path) -> None:
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        assert cache.get(key(1)) is None
        cache.put(key(1), values(1))
        cache.put(key(2), values(2, 3))
        assert_array_equal(cache.get(key(1)), values(1), strict=True)
        assert (cache.entries, cache.problem) == (2, None)
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        assert (cache.entries, cache.damaged, cache.problem) == (2, 0, None)
        assert known(cache, range(2)) == [1]
        assert_array_equal(cache.get(key(2)), values(2, 3), strict=True)


def test_another_namespace_knows_nothing_of_it(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    with closing(ReferenceCache.open(tmp_path, "b")) as cache:
        assert cache.entries == 0


def test_what_is_flushed_is_on_disk_before_the_end(tmp_path: Path) -> None:
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        cache.put(key(1), values(1))
        cache.flush()
        cache.put(key(2), values(2))
        with closing(ReferenceCache.open(tmp_path, "a")) as other:
            assert known(other, range(3)) == [1]


def test_a_run_that_only_reads_leaves_no_segment(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    fill(tmp_path, range(3))
    assert len(segments(tmp_path)) == 1


def test_the_first_values_of_a_block_stay(tmp_path: Path) -> None:
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        cache.put(key(1), values(1))
        cache.put(key(1), values(5))
        assert known(cache, range(2)) == [1]
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        assert known(cache, range(2)) == [1]


def test_changing_what_was_given_or_got_changes_nothing(tmp_path: Path) -> None:
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        given = values(1)
        cache.put(key(1), given)
        given[:] = 0
        got = cache.get(key(1))
        assert got is not None
        got[:] = 0
        assert known(cache, range(2)) == [1]


def test_of_two_runs_that_disagree_the_older_is_heard(tmp_path: Path) -> None:
    """Bits may differ from machine to machine; what one run has been told stays as it is."""
    with (
        closing(ReferenceCache.open(tmp_path, "a")) as first,
        closing(ReferenceCache.open(tmp_path, "a")) as second,
    ):
        first.put(key(1), values(1))
        second.put(key(1), values(2))
        first.flush()
        second.flush()
        for cache in (first, second):
            cache.refresh()
        assert_array_equal(first.get(key(1)), values(1))
        assert_array_equal(second.get(key(1)), values(2))
    for _ in range(3):
        with closing(ReferenceCache.open(tmp_path, "a")) as cache:
            assert_array_equal(cache.get(key(1)), values(1))


def test_runs_see_of_each_other_after_a_refresh(tmp_path: Path) -> None:
    with (
        closing(ReferenceCache.open(tmp_path, "a")) as first,
        closing(ReferenceCache.open(tmp_path, "a")) as second,
    ):
        for number in range(5):
            first.put(key(number), values(number))
            first.flush()
            assert known(second, range(9)) == list(range(number))
            second.refresh()
            assert known(second, range(9)) == list(range(number + 1))
        assert (
            second.bytes_on_disk == first.bytes_on_disk == sum(p.stat().st_size for p in segments(tmp_path))
        )


def test_values_that_went_wrong_are_computed_again(tmp_path: Path) -> None:
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        for number, wrong in enumerate((np.nan, np.inf, -np.inf)):
            cache.put(key(number), np.array([1, wrong], dtype=np.float32))
        assert cache.entries == 0


@pytest.mark.parametrize(
    ("name", "given"),
    [(b"short", values(1)), (key(1), values(1).reshape(4, 4)), (key(1), values(1, 1 << 17))],
)
def test_what_is_no_block_is_refused(tmp_path: Path, name: bytes, given: Values) -> None:
    with (
        closing(ReferenceCache.open(tmp_path, "a")) as cache,
        pytest.raises(ValueError, match="16 bytes"),
    ):
        cache.put(name, given)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "a\n"])
def test_a_namespace_is_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a folder"):
        ReferenceCache.open(tmp_path, name)


def test_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    root = tmp_path / "new" / "deep"
    fill(root, range(1))
    made = [root.parent, root, root / "reference", root / "reference" / "a"]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700] * 4
    assert {path.stat().st_mode & 0o777 for path in made[-1].iterdir()} == {0o600}


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    cache = ReferenceCache.open(tmp_path, "a")
    cache.put(key(1), values(1))
    for _ in range(2):
        cache.close()
    cache.put(key(2), values(2))
    cache.flush()
    assert known(cache, range(4)) == [1, 2]
    assert len(segments(tmp_path)) == 1


# Where the disk cannot be used


@pytest.mark.parametrize("blocked", [".", "reference", "reference/a"])
def test_a_file_in_the_way_leaves_the_memory(tmp_path: Path, blocked: str) -> None:
    root = tmp_path / "root"
    path = root / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file")
    with closing(ReferenceCache.open(root, "a")) as cache:
        told = f"--reference-cache {root}: Not a directory; what is new there is kept in memory only"
        assert cache.problem == told
        cache.put(key(1), values(1))
        cache.flush()
        cache.refresh()
        assert cache.problem == told
        assert known(cache, range(3)) == [1]
        assert cache.bytes_on_disk == 0
    assert path.read_text() == "a file"


def test_the_disk_is_used_again_when_it_can_be(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.write_text("a file")
    with closing(ReferenceCache.open(root, "a")) as cache:
        cache.put(key(1), values(1))
        cache.flush()
        root.unlink()
        cache.flush()
        assert cache.problem is None
        cache.put(key(2), values(2))
    with closing(ReferenceCache.open(root, "a")) as cache:
        assert known(cache, range(3)) == [1, 2]


def test_a_folder_deleted_in_the_middle_of_a_run_is_made_anew(tmp_path: Path) -> None:
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        cache.put(key(1), values(1))
        cache.flush()
        for path in cache.path.iterdir():
            path.unlink()
        cache.path.rmdir()
        cache.put(key(2), values(2))
        cache.flush()
        assert cache.problem is None
        assert known(cache, range(3)) == [1, 2]
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        assert known(cache, range(3)) == [2]


# Names


def test_a_key_is_made_of_types_shapes_contents_and_order() -> None:
    one, two = np.array([1, 2, 3], dtype=np.int64), np.array([4, 5, 6], dtype=np.int64)
    keys = [
        block_key(one, two),
        block_key(two, one),
        block_key(np.concatenate([one, two])),
        block_key(np.stack([one, two])),
        block_key(one, two, np.zeros(0, dtype=np.int64)),
        block_key(one.astype(np.int32), two),
        block_key(one, np.array([4, 5, 7])),
        block_key(one.view(np.uint64), two),
        block_key(),
    ]
    assert len(set(keys)) == len(keys)
    assert {len(name) for name in keys} == {16}
    assert block_key(np.arange(6).reshape(2, 3).T) == block_key(np.arange(6).reshape(2, 3).T.copy())
    # Written down: another digest would be another cache.
    assert block_key(one.astype("<i4")).hex() == "51f7f5b9e768a4cd8d52c89311de0190"


def test_a_key_of_objects_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        block_key(np.array(["a", None], dtype=object))


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_root() == tmp_path / "cache" / "kto-tui"
    monkeypatch.setenv("HOME", str(tmp_path))
    for ignored in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert default_root() == tmp_path / ".cache" / "kto-tui"


def test_it_is_free_of_torch() -> None:
    code = "import kto_tui.training.reference, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
