"""Requests on their way to a run: who may write them, and what is made of them."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kto_tui.core.commands import (
    Command,
    CommandName,
    append_command,
    decode_command,
    make_private,
    new_command,
    refusal,
)

NAMES: tuple[CommandName, ...] = get_args(CommandName)


def refused(path: Path) -> str | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return refusal(descriptor)
    finally:
        os.close(descriptor)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    made, appended = tmp_path / "made", tmp_path / "appended"
    before = os.umask(0)
    try:
        make_private(made)
        append_command(appended, new_command("pause"))
    finally:
        os.umask(before)
    assert [mode(made), mode(appended)] == [0o600, 0o600]
    assert refused(made) is None


def test_an_older_file_is_made_private_and_keeps_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    path.write_text("old\n")
    path.chmod(0o664)
    assert refused(path) == "others may write it (mode 664); mend it with chmod 600"
    make_private(path)
    assert refused(path) is None
    assert path.read_text() == "old\n"


@pytest.mark.parametrize("bits", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_not_trusted(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "commands.jsonl"
    make_private(path)
    path.chmod(bits)
    assert f"mode {bits:o}" in (refused(path) or "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    append_command(path, new_command("stop"))
    os.chown(path, 12_345, 12_345)
    make_private(path)
    assert refused(path) == "it belongs to user 12345, and the run to user 0"


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_plain_file_is_neither_made_nor_written(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "commands.jsonl", tmp_path / "precious"
    target.write_text("precious\n")
    if kind == "link":
        path.symlink_to(target)
        with pytest.raises(OSError, match="symbolic links"):
            make_private(path)
    else:
        os.mkfifo(path)
        assert refused(path) == "it is no plain file"
    with pytest.raises(OSError, match=r"symbolic links|no plain file"):
        append_command(path, new_command("stop"))
    assert target.read_text() == "precious\n"


def test_a_request_that_the_disk_takes_in_part_is_an_error_and_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "commands.jsonl", os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:20]))
    with pytest.raises(OSError, match="No space left on device") as caught:
        append_command(path, new_command("stop"))
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    asked = new_command("pause")
    append_command(path, asked)
    assert [decode_command(line) for line in path.read_bytes().splitlines()] == [None, asked]


def test_a_request_too_long_to_be_read_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    with pytest.raises(ValueError, match="at most 1024"):
        append_command(path, Command(id="x" * 2000, command="stop", time=1))
    assert not path.exists()


@pytest.mark.parametrize(
    "line",
    [
        b'{"id":"","command":"stop","time":1}',
        b'{"id":"%s","command":"stop","time":1}' % (b"x" * 65),
        b'{"id":"1","command":"stop","time":1e300}',
        b'{"id":"1","command":"stop","time":-1}',
        b'{"id":"1","command":"stop","time":1,"more":%s}' % (b"[" * 2000),
        b'{"id":1,"command":"stop","time":1}',
    ],
)
def test_what_no_dashboard_asks_is_no_request(line: bytes) -> None:
    assert decode_command(line) is None


def test_many_that_write_at_once_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    code = """
import sys
from pathlib import Path
from kto_tui.core.commands import append_command, new_command
for _ in range(200):
    append_command(Path(sys.argv[1]), new_command("pause"))
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    commands = [decode_command(line) for line in path.read_bytes().splitlines()]
    assert len({command.id for command in commands if command}) == 800


COMMANDS = st.builds(
    Command,
    id=st.text(min_size=1, max_size=64),
    command=st.sampled_from(NAMES),
    time=st.floats(0, 253_402_214_400),
    keeps=st.booleans(),
    urgent=st.booleans(),
)


@given(st.lists(COMMANDS, max_size=5), st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_requests_are_read_as_they_were_made(
    tmp_path_factory: pytest.TempPathFactory, commands: list[Command], torn: bytes
) -> None:
    path = tmp_path_factory.mktemp("run") / "commands.jsonl"
    path.write_bytes(torn)
    for command in commands:
        append_command(path, command)
    read = [decode_command(line) for line in path.read_bytes().split(b"\n")]
    assert [command for command in read if command is not None] == commands


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_no_line_makes_the_reader_fail(line: bytes) -> None:
    command = decode_command(line)
    assert command is None or command.command in NAMES
