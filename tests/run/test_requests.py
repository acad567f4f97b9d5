"""Requests as the supervisor takes them."""

from pathlib import Path

from kto_tui.core.commands import append_command, new_command
from kto_tui.run.requests import RequestReader


def test_requests_since_the_start_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    append_command(path, new_command("stop"))
    with RequestReader(path) as reader:
        assert reader.read_commands() == []
        asked = new_command("pause")
        append_command(path, asked)
        with path.open("ab") as file:
            file.write(b"hello\n")
        assert reader.read_commands() == [asked]
        assert reader.problem is None


def test_requests_that_others_could_have_made_are_not_taken_until_that_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    with RequestReader(path) as reader:
        path.chmod(0o666)
        append_command(path, new_command("stop"))
        assert reader.read_commands() == []
        assert reader.problem == "others may write it (mode 666); mend it with chmod 600"
        path.chmod(0o600)
        asked = new_command("pause")
        append_command(path, asked)
        assert reader.read_commands() == [asked]
        assert reader.problem is None


def test_a_file_that_cannot_be_made_private_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"")
    target.chmod(0o666)
    path = tmp_path / "commands.jsonl"
    path.symlink_to(target)
    with RequestReader(path) as reader:
        assert "symbolic links" in (reader.problem or "")
        target.write_bytes(b'{"id":"1","command":"stop","time":1}\n')
        assert reader.read_commands() == []
