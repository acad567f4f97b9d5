"""A checkpoint's manifest: whatever happens to the files is noticed, and nothing but Damaged is raised."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kto_tui.core.directory import MANIFEST_NAME, RunDirectory
from kto_tui.core.manifest import (
    Damaged,
    Manifest,
    describe,
    newest_whole,
    problem_of,
    put_back_replaced,
    read_manifest,
    verify,
    write_manifest,
)

# No two are one flipped bit apart, as no two files of a real checkpoint are.
NAMES = (
    "adapter_model.safetensors",
    "optimizer.pt",
    "rng_state.pth",
    "below/state.json",
    "ünï.txt",
    "with space",
)
CONTENTS = st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=200), min_size=1)


@contextmanager
def checkpoint(files: dict[str, bytes]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "checkpoint-5")
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        write_manifest(folder, Manifest(step=5, reason="scheduled", time=1.5, files=describe(folder)))
        yield folder


def flip(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    return bytes(changed)


@given(files=CONTENTS)
@settings(max_examples=30, deadline=None)
def test_what_was_written_is_whole(files: dict[str, bytes]) -> None:
    with checkpoint(files) as folder:
        manifest = verify(folder)
        assert manifest == read_manifest(folder)
        assert {name: entry.bytes for name, entry in manifest.files.items()} == {
            name: len(content) for name, content in files.items()
        }
        assert problem_of(folder) is None
        (folder / "notes.txt").write_text("a file that came later is nobody's business")
        assert verify(folder) == manifest


CHANGES = (
    "flipped",
    "cut",
    "grown",
    "removed",
    "renamed",
    "a folder",
    "a dangling link",
    "a circle of links",
)


def change_file(path: Path, change: str, content: bytes, n: int) -> None:
    """Something else than `content` at `path`."""
    match change:
        case "flipped":
            path.write_bytes(flip(content or b"x", n))
        case "cut":
            path.write_bytes(content[: n % len(content)] if content else b"x")
        case "grown":
            path.write_bytes(content + b"x" * (1 + n % 9))
        case "renamed":
            path.rename(path.with_name("other"))
        case _:
            path.unlink()
    if change == "a folder":
        path.mkdir()
    elif change.endswith(("link", "links")):
        path.symlink_to("nowhere" if change == "a dangling link" else path.name)


@given(files=CONTENTS, which=st.integers(0, 99), change=st.sampled_from(CHANGES), n=st.integers(0, 9999))
@settings(max_examples=80, deadline=None)
def test_any_change_of_a_file_is_noticed(files: dict[str, bytes], which: int, change: str, n: int) -> None:
    name = sorted(files)[which % len(files)]
    with checkpoint(files) as folder:
        change_file(folder / name, change, files[name], n)
        problem = problem_of(folder)
        assert problem is not None
        assert name in problem
        assert problem.isprintable()


@given(files=CONTENTS, cut=st.none() | st.integers(0, 9999), bit=st.none() | st.integers(0, 99_999))
@settings(max_examples=80, deadline=None)
def test_a_changed_manifest_is_damaged_or_says_the_same_of_the_files(
    files: dict[str, bytes], cut: int | None, bit: int | None
) -> None:
    with checkpoint(files) as folder:
        before = read_manifest(folder)
        content = (folder / MANIFEST_NAME).read_bytes()
        content = content if cut is None else content[: cut % len(content)]
        content = flip(content, bit) if content and bit is not None else content
        (folder / MANIFEST_NAME).write_bytes(content)
        with suppress(Damaged):
            assert verify(folder).files == before.files


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
HOSTILE_NAMES = ("../x", "/etc/passwd", "a/../../x", "", "a\0b", ".", "..", "x" * 5000, "\x1b[31m", "a/b/c")


@given(
    name=st.sampled_from(HOSTILE_NAMES) | st.text(max_size=20),
    entry=st.fixed_dictionaries({"bytes": st.integers() | JSON, "sha256": st.text(max_size=70) | JSON})
    | JSON,
    fields=st.dictionaries(st.sampled_from(("step", "reason", "time", "files", "more")), JSON, max_size=3),
)
@settings(max_examples=80, deadline=None)
def test_nothing_but_damaged_is_raised(name: str, entry: Any, fields: dict[str, Any]) -> None:
    with checkpoint({"a": b"1"}) as folder:
        manifest = {"step": 5, "reason": "scheduled", "time": 1.5, "files": {name: entry}, **fields}
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
        with pytest.raises(Damaged):
            verify(folder)


@given(content=st.binary(max_size=300))
@settings(max_examples=40, deadline=None)
def test_bytes_that_are_no_manifest(content: bytes) -> None:
    with checkpoint({"a": b"1"}) as folder:
        (folder / MANIFEST_NAME).write_bytes(content)
        with pytest.raises(Damaged):
            verify(folder)


@pytest.mark.parametrize(
    "content",
    [b"[" * 200_000, b'{"step": ' + b"9" * 200_000, b'{"files":' * 100_000, b"{}" + b" " * (17 << 20)],
    ids=["deep list", "huge number", "deep object", "large"],
)
def test_a_hostile_manifest(content: bytes) -> None:
    with checkpoint({"a": b"1"}) as folder:
        (folder / MANIFEST_NAME).write_bytes(content)
        with pytest.raises(Damaged):
            verify(folder)


@pytest.mark.parametrize("name", [name for name in HOSTILE_NAMES if ".." in name or name.startswith("/")])
def test_no_file_outside_is_looked_at(name: str) -> None:
    """Even where it is what the manifest says."""
    with checkpoint({"a": b"1"}) as folder:
        (folder.parent / "x").write_bytes(b"1")
        manifest = msgspec.to_builtins(read_manifest(folder))
        manifest["files"][name] = manifest["files"]["a"]
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
        assert problem_of(folder) == "manifest.json is damaged"


def test_the_newest_whole_one(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert newest_whole(directory) == (None, [])
    for step in (5, 10, 15):
        folder = directory.checkpoint(step)
        folder.mkdir()
        (folder / "a").write_text("1")
        write_manifest(folder, Manifest(step=step, reason="final", time=0, files=describe(folder)))
    assert newest_whole(directory) == (directory.checkpoint(15), [])
    (directory.checkpoint(15) / "a").write_text("2")
    shutil.copy(directory.checkpoint(5) / "a", directory.checkpoint(10) / "a")
    newest, passed_over = newest_whole(directory)
    assert newest == directory.checkpoint(10)
    assert [(passed.path.name, passed.problem) for passed in passed_over] == [
        ("checkpoint-15", "a is not what was written (its SHA-256 differs)")
    ]


def test_a_pipe_under_a_files_name_is_not_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    (folder / "a").write_bytes(b"weights")
    write_manifest(folder, Manifest(step=1, reason="final", time=0.0, files=describe(folder)))
    (folder / "a").unlink()
    os.mkfifo(folder / "a")
    with pytest.raises(Damaged, match="a cannot be read: not a regular file"):
        verify(folder)


def test_a_name_that_stands_twice_hides_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    for name in ("a", "c"):
        (folder / name).write_bytes(name.encode())
    write_manifest(folder, Manifest(step=1, reason="final", time=0.0, files=describe(folder)))
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"a":', '"c":'))
    (folder / "a").write_bytes(b"damaged")
    with pytest.raises(Damaged, match=r"manifest\.json is damaged"):
        verify(folder)


def whole(folder: Path, content: str) -> None:
    folder.mkdir(parents=True)
    (folder / "a").write_text(content)
    write_manifest(folder, Manifest(step=5, reason="scheduled", time=1.5, files=describe(folder)))


def test_one_that_was_being_replaced_is_put_back(tmp_path: Path) -> None:
    """Its worker died between the two renames; the new one beside it stays where it is."""
    directory = RunDirectory(tmp_path)
    whole(directory.staging / "replaced-checkpoint-5", "old")
    whole(directory.staging / "checkpoint-5", "new")
    put_back_replaced(directory)
    assert newest_whole(directory) == (directory.checkpoint(5), [])
    assert (directory.checkpoint(5) / "a").read_text() == "old"
    assert [path.name for path in directory.staging.iterdir()] == ["checkpoint-5"]


def test_one_that_has_been_replaced_does_not_come_back(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    put_back_replaced(directory)  # Nothing was ever staged.
    whole(directory.staging / "replaced-checkpoint-5", "old")
    whole(directory.checkpoint(5), "new")
    put_back_replaced(directory)
    assert (directory.checkpoint(5) / "a").read_text() == "new"


def reading(path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """The disk fails with `error` where `path` is opened."""
    plain = os.open

    def failing(opened: str | Path, *args: Any, **kwargs: Any) -> int:
        if Path(opened) == path:
            raise OSError(error, os.strerror(error), str(opened))
        return plain(opened, *args, **kwargs)

    monkeypatch.setattr(os, "open", failing)


@pytest.mark.parametrize("name", [MANIFEST_NAME, "a"])
@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE, errno.EACCES])
def test_what_cannot_be_read_for_a_moment_is_told_from_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: int
) -> None:
    folder = tmp_path / "checkpoint-5"
    whole(folder, "1")
    with monkeypatch.context() as patch:
        reading(folder / name, patch, error)
        with pytest.raises(Damaged, match=f"{name} cannot be read: {os.strerror(error)}") as raised:
            verify(folder)
    assert raised.value.unreadable
    assert problem_of(folder) is None
    (folder / name).write_text("?")
    with pytest.raises(Damaged) as raised:
        verify(folder)
    assert not raised.value.unreadable
