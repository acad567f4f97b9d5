"""How much disk the cache takes: many segments become one, and what nobody has used for long goes."""

import os
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from kto_tui.training.reference import ReferenceCache
from kto_tui.training.reference.format import seal_of
from kto_tui.training.reference.locks import open_existing
from kto_tui.training.reference.segments import SegmentReader
from kto_tui.training.reference.shelf import MERGE_FROM, Shelf
from tests.training.test_reference_store import fill, key, known, segments, values

RECORD, HEADER = 96, 32


def used_at(root: Path, namespace: str, hours_ago: float) -> None:
    seconds = time.time() - hours_ago * 3600
    os.utime(root / "reference" / namespace, (seconds, seconds))


def names(root: Path) -> set[str]:
    return {path.name for path in (root / "reference").iterdir()}


def bytes_in(root: Path) -> int:
    return sum(path.stat().st_size for path in (root / "reference").rglob("*.refs"))


def leave_segments(root: Path, count: int) -> None:
    """What so many runs leave that were alive at the same time: a segment each, with a block each."""
    caches = [ReferenceCache.open(root, "a") for _ in range(count)]
    for number, cache in enumerate(caches):
        cache.put(key(number), values(number))
    for cache in caches:
        cache.close()
    assert len(segments(root)) == count


def test_many_small_segments_become_one(tmp_path: Path) -> None:
    for run in range(MERGE_FROM):
        assert len(segments(tmp_path)) == run
        with closing(ReferenceCache.open(tmp_path, "a")) as cache:
            cache.put(key(run), values(run))
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        (merged,) = segments(tmp_path)
        assert merged.stat().st_size == cache.bytes_on_disk == HEADER + MERGE_FROM * RECORD
        assert known(cache, range(99)) == list(range(MERGE_FROM))
        cache.refresh()
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        assert known(cache, range(99)) == list(range(MERGE_FROM))
        assert (cache.damaged, segments(tmp_path)) == (0, [merged])


def test_segments_of_live_runs_are_not_merged(tmp_path: Path) -> None:
    with ExitStack() as stack:
        for run in range(MERGE_FROM + 1):
            cache = stack.enter_context(closing(ReferenceCache.open(tmp_path, "a")))
            cache.put(key(run), values(run))
            cache.flush()
        with closing(ReferenceCache.open(tmp_path, "a")) as cache:
            assert known(cache, range(99)) == list(range(MERGE_FROM + 1))
            assert len(segments(tmp_path)) == MERGE_FROM + 1


def test_a_live_run_goes_on_while_others_are_merged(tmp_path: Path) -> None:
    fill(tmp_path, range(1))
    with closing(ReferenceCache.open(tmp_path, "a")) as live:
        live.put(key(50), values(50))
        live.flush()
        for run in range(1, MERGE_FROM + 2):
            fill(tmp_path, range(run, run + 1))
        assert len(segments(tmp_path)) < MERGE_FROM
        live.put(key(51), values(51))
        live.refresh()
        assert known(live, range(99)) == [*range(MERGE_FROM + 2), 50, 51]
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        assert known(cache, range(99)) == [*range(MERGE_FROM + 2), 50, 51]


def test_merging_keeps_the_values_that_were_heard_first(tmp_path: Path) -> None:
    caches = [ReferenceCache.open(tmp_path, "a") for _ in range(MERGE_FROM)]
    for run, cache in enumerate(caches):
        cache.put(key(1), values(1 + run))
        cache.flush()
    for cache in caches:
        cache.close()
    for _ in range(2):
        with closing(ReferenceCache.open(tmp_path, "a")) as cache:
            assert known(cache, range(2)) == [1]
            assert len(segments(tmp_path)) == 1


def test_what_is_merged_keeps_its_age(tmp_path: Path) -> None:
    """Else what was heard first would depend on when it was merged."""
    caches = [ReferenceCache.open(tmp_path, "a") for _ in range(MERGE_FROM + 1)]
    for run, cache in enumerate(caches):
        cache.put(key(1), values(1 + min(run, 1)))
        cache.flush()
    *dead, live = caches
    for cache in dead:
        cache.close()
    for _ in range(2):
        with closing(ReferenceCache.open(tmp_path, "a")) as cache:
            assert known(cache, range(2)) == [1]
            assert len(segments(tmp_path)) == 2
    live.close()


def test_segments_that_are_merged_while_they_are_read_are_found_in_the_new_one(tmp_path: Path) -> None:
    leave_segments(tmp_path, MERGE_FROM + 1)

    class MergedMeanwhile(dict[bytes, bytes]):
        def setdefault(self, key: bytes, default: bytes = b"") -> bytes:
            if not self:
                ReferenceCache.open(tmp_path, "a").close()
            return super().setdefault(key, default)

    found = MergedMeanwhile()
    Shelf(tmp_path / "reference" / "a", seal_of("a")).read_into(found)
    assert sorted(found) == [key(number) for number in range(MERGE_FROM + 1)]
    assert len(segments(tmp_path)) == 2


def test_a_segment_that_was_merged_away_is_nobody_s_to_merge(tmp_path: Path) -> None:
    """It may be opened a moment before another process deletes it, and locked a moment after."""
    leave_segments(tmp_path, MERGE_FROM)
    path = segments(tmp_path)[0]
    descriptor = open_existing(path)
    try:
        ReferenceCache.open(tmp_path, "a").close()
        assert not path.exists()
        assert not SegmentReader(path, descriptor).abandoned
    finally:
        os.close(descriptor)


def test_what_a_killed_merge_left_is_cleared_when_it_is_old(tmp_path: Path) -> None:
    fill(tmp_path, range(2))
    old, young = (tmp_path / "reference" / "a" / f"{name}.refs.new" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"begun")
    os.utime(old, (0, 0))
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        assert (known(cache, range(9)), cache.damaged) == ([0, 1], 0)
    assert (old.exists(), young.exists()) == (False, True)


def test_namespaces_that_were_not_used_for_longest_go(tmp_path: Path) -> None:
    for hours_ago, namespace in enumerate("abcd"):
        fill(tmp_path, range(10), namespace)
        used_at(tmp_path, namespace, hours_ago)
    each = HEADER + 10 * RECORD
    with closing(ReferenceCache.open(tmp_path, "new", limit_bytes=2 * each)) as cache:
        assert names(tmp_path) == {"a", "b", "new"}
        assert cache.bytes_on_disk == 2 * each == bytes_in(tmp_path)
    with closing(ReferenceCache.open(tmp_path, "b", limit_bytes=each)) as cache:
        assert known(cache, range(99)) == list(range(10))
        assert "b" in names(tmp_path)
        assert "a" not in names(tmp_path)


def test_opening_makes_a_namespace_the_latest_used(tmp_path: Path) -> None:
    for hours_ago, namespace in enumerate("ab"):
        fill(tmp_path, range(10), namespace)
        used_at(tmp_path, namespace, 1 + hours_ago)
    fill(tmp_path, range(0), "b")
    ReferenceCache.open(tmp_path, "new", limit_bytes=HEADER + 10 * RECORD).close()
    assert names(tmp_path) == {"b", "new"}


@pytest.mark.parametrize("wrote", [False, True])
def test_a_namespace_in_use_stays(tmp_path: Path, wrote: bool) -> None:
    for namespace in "ab":
        fill(tmp_path, range(10), namespace)
    with closing(ReferenceCache.open(tmp_path, "a")) as user:
        if wrote:
            user.put(key(10), values(10))
            user.flush()
        used_at(tmp_path, "a", 99)
        ReferenceCache.open(tmp_path, "new", limit_bytes=0).close()
        assert names(tmp_path) == {"a", "new"}
        assert known(user, range(99)) == list(range(10 + wrote))
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        assert known(cache, range(99)) == list(range(10 + wrote))
    ReferenceCache.open(tmp_path, "new", limit_bytes=0).close()
    assert names(tmp_path) == {"new"}


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """The user may give any folder, and one that holds a folder named `reference` of their own."""
    notes = tmp_path / "reference" / "notes"
    notes.mkdir(parents=True)
    (notes / "a.refs").write_bytes(b"precious" * 1000)
    fill(tmp_path, range(10), "a")
    (tmp_path / "reference" / "a" / "mine.txt").write_text("mine")
    with closing(ReferenceCache.open(tmp_path, "new", limit_bytes=0)) as cache:
        assert (cache.bytes_on_disk, bytes_in(tmp_path)) == (0, 8000)
    assert (tmp_path / "reference" / "a" / "mine.txt").read_text() == "mine"


def test_at_the_limit_all_goes_on_in_memory(tmp_path: Path) -> None:
    limit = HEADER + 10 * RECORD
    with closing(ReferenceCache.open(tmp_path, "a", limit_bytes=limit)) as cache:
        for number in range(20):
            assert cache.problem is None or number > 9
            cache.put(key(number), values(number))
            cache.flush()
        assert cache.problem is not None
        assert "has reached its" in cache.problem
        assert "\n" not in cache.problem
        assert known(cache, range(99)) == list(range(20))
        assert cache.bytes_on_disk == bytes_in(tmp_path) <= limit
    with closing(ReferenceCache.open(tmp_path, "a", limit_bytes=limit)) as cache:
        found = known(cache, range(99))
        assert found == list(range(len(found)))
        assert len(found) >= 9
    with closing(ReferenceCache.open(tmp_path, "a", limit_bytes=2 * limit)) as cache:
        cache.put(key(30), values(30))
        cache.flush()
        assert cache.problem is None


def test_a_run_that_grows_takes_the_room_of_what_nobody_uses(tmp_path: Path) -> None:
    fill(tmp_path, range(10), "old")
    limit = HEADER + 12 * RECORD
    with closing(ReferenceCache.open(tmp_path, "a", limit_bytes=limit)) as cache:
        assert names(tmp_path) == {"old", "a"}
        for number in range(5):
            cache.put(key(number), values(number))
            cache.flush()
        assert names(tmp_path) == {"a"}
        assert (cache.problem, cache.bytes_on_disk) == (None, bytes_in(tmp_path))


def test_room_that_others_make_is_used_after_a_refresh(tmp_path: Path) -> None:
    limit = HEADER + 4 * RECORD
    with closing(ReferenceCache.open(tmp_path, "a", limit_bytes=limit)) as cache:
        with closing(ReferenceCache.open(tmp_path, "b")) as other:
            other.put(key(0), values(0))
            other.flush()
            cache.refresh()
            for number in range(3):
                cache.put(key(number), values(number))
            cache.flush()
            assert cache.problem is not None
        cache.refresh()
        cache.flush()
        assert cache.problem is None
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        assert known(cache, range(9)) == [0, 1, 2]
