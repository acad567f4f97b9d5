"""Real processes that share a cache: at once, killed, out of room."""

import os
import resource
import signal
import tempfile
from contextlib import closing, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from kto_tui.training.reference import ReferenceCache
from kto_tui.training.reference.shelf import MERGE_FROM
from tests.training.test_reference_store import fill, key, known, segments, values

SPAWN = get_context("spawn")
TIMEOUT_SECONDS = 60
ROUNDS = 20


def write(root: Path, numbers: range, together: Barrier, said: Connection) -> None:
    """Write these blocks one by one. Says, after all have written, which of all blocks it knows."""
    with closing(ReferenceCache.open(root, "a")) as cache:
        together.wait(TIMEOUT_SECONDS)
        for number in numbers:
            cache.put(key(number), values(number))
            cache.flush()
        together.wait(TIMEOUT_SECONDS)
        cache.refresh()
        said.send((known(cache, range(9999)), cache.damaged, cache.problem))


def write_on_and_on(root: Path, said: Connection) -> None:
    """Write until killed, and say each block that has been flushed."""
    with closing(ReferenceCache.open(root, "a")) as cache:
        for number in range(1_000_000):
            cache.put(key(number), values(number, 4096))
            cache.flush()
            said.send(number)


def write_without_room(root: Path, said: Connection) -> None:
    """Write under a limit of the kernel's, which cuts a write short as a full disk does; then without."""
    with closing(ReferenceCache.open(root, "a")) as cache:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        for number in range(50):
            cache.put(key(number), values(number))
            if number % 3 == 0:
                cache.flush()
        size = sum(path.stat().st_size for path in segments(root))
        said.send((known(cache, range(99)), cache.problem, size, cache.bytes_on_disk))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        cache.flush()
        said.send(cache.problem)


def read_what_cannot_be_written(root: Path, said: Connection) -> None:
    if os.geteuid() == 0:  # The superuser may write anywhere.
        os.seteuid(65534)
    with closing(ReferenceCache.open(root, "a")) as cache:
        cache.put(key(50), values(50))
        cache.flush()
        cache.refresh()
        said.send((known(cache, range(99)), cache.damaged, cache.problem))


def open_and_look(root: Path, together: Barrier, said: Connection) -> None:
    for _ in range(ROUNDS):
        together.wait(TIMEOUT_SECONDS)
        with closing(ReferenceCache.open(root, "a")) as cache:
            said.send((known(cache, range(99)), cache.damaged))
        together.wait(TIMEOUT_SECONDS)


def test_two_runs_write_at_once(tmp_path: Path) -> None:
    together = SPAWN.Barrier(2)
    pipes = [SPAWN.Pipe(duplex=False) for _ in range(2)]
    shares = (range(400), range(300, 700))
    children = [
        SPAWN.Process(target=write, args=(tmp_path, share, together, pipe[1]))
        for share, pipe in zip(shares, pipes, strict=True)
    ]
    for child in children:
        child.start()
    for heard, _ in pipes:
        assert heard.poll(TIMEOUT_SECONDS)
        assert heard.recv() == (list(range(700)), 0, None)
    for child in children:
        child.join(TIMEOUT_SECONDS)
        assert child.exitcode == 0
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        assert (known(cache, range(9999)), cache.damaged) == (list(range(700)), 0)
    assert len(segments(tmp_path)) == 2


@pytest.mark.parametrize("flushed", [1, 57, 300])
def test_nothing_that_was_flushed_is_lost_when_a_run_is_killed(tmp_path: Path, flushed: int) -> None:
    heard, said = SPAWN.Pipe(duplex=False)
    doomed = SPAWN.Process(target=write_on_and_on, args=(tmp_path, said))
    doomed.start()
    with closing(ReferenceCache.open(tmp_path, "a")) as bystander:
        while True:
            assert heard.poll(TIMEOUT_SECONDS)
            last = heard.recv()
            bystander.put(key(10_000_000 + last), values(last))
            bystander.flush()
            if last >= flushed:
                break
        assert doomed.pid is not None
        os.kill(doomed.pid, signal.SIGKILL)
        doomed.join(TIMEOUT_SECONDS)
        said.close()
        with suppress(EOFError):
            while heard.poll():
                last = heard.recv()
        with closing(ReferenceCache.open(tmp_path, "a")) as third:
            for number in range(last + 1):
                got = third.get(key(number))
                assert got is not None
                assert (got == values(number, 4096)).all()
            assert third.damaged <= 1
            assert third.get(key(10_000_000)) is not None


def test_a_full_disk_leaves_the_memory(tmp_path: Path) -> None:
    heard, said = SPAWN.Pipe(duplex=False)
    child = SPAWN.Process(target=write_without_room, args=(tmp_path, said))
    child.start()
    assert heard.poll(TIMEOUT_SECONDS)
    blocks, problem, size, counted = heard.recv()
    assert blocks == list(range(50))
    assert (
        problem == f"--reference-cache {tmp_path}: File too large; what is new there is kept in memory only"
    )
    # Nothing torn is left at the end: a header, and whole records alone.
    assert size == counted <= 1000
    assert (size - 32) % 96 == 0
    assert heard.poll(TIMEOUT_SECONDS)
    assert heard.recv() is None
    child.join(TIMEOUT_SECONDS)
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        assert (known(cache, range(99)), cache.damaged) == (list(range(50)), 0)


def test_a_cache_that_cannot_be_written_to_is_read() -> None:
    with tempfile.TemporaryDirectory() as folder:  # Unlike tmp_path, one that others may enter.
        root = Path(folder)
        fill(root, range(5))
        for path in (root, root / "reference", root / "reference" / "a"):
            path.chmod(0o555)
        for path in (root / "reference" / "a").iterdir():
            path.chmod(0o444)
        heard, said = SPAWN.Pipe(duplex=False)
        child = SPAWN.Process(target=read_what_cannot_be_written, args=(root, said))
        child.start()
        said.close()
        assert heard.poll(TIMEOUT_SECONDS)
        blocks, damaged, problem = heard.recv()
        child.join(TIMEOUT_SECONDS)
        for path in (root / "reference" / "a", root / "reference", root):
            path.chmod(0o755)
    assert (blocks, damaged) == ([0, 1, 2, 3, 4, 50], 0)
    told = f"--reference-cache {root}: Permission denied; what is new there is kept in memory only"
    assert problem == told


def test_two_runs_merge_at_once(tmp_path: Path) -> None:
    together = SPAWN.Barrier(3)
    pipes = [SPAWN.Pipe(duplex=False) for _ in range(2)]
    children = [SPAWN.Process(target=open_and_look, args=(tmp_path, together, pipe[1])) for pipe in pipes]
    for child in children:
        child.start()
    expected: list[int] = []
    for turn in range(ROUNDS):
        # Segments as so many runs leave them, side by side since all are open at once.
        caches = [ReferenceCache.open(tmp_path, "a") for _ in range(MERGE_FROM)]
        for part, cache in enumerate(caches):
            number = (turn * MERGE_FROM + part) % 99
            cache.put(key(number), values(number))
            expected = sorted({*expected, number})
        for cache in caches:
            cache.close()
        together.wait(TIMEOUT_SECONDS)
        for heard, _ in pipes:
            assert heard.poll(TIMEOUT_SECONDS)
            assert heard.recv() == (expected, 0)
        together.wait(TIMEOUT_SECONDS)
    for child in children:
        child.join(TIMEOUT_SECONDS)
        assert child.exitcode == 0
    with closing(ReferenceCache.open(tmp_path, "a")) as cache:
        assert (known(cache, range(99)), cache.damaged) == (expected, 0)
    assert len(segments(tmp_path)) < MERGE_FROM + 2
