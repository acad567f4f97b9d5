"""The journal on disk: what a crash, a newer version or a slow writer leaves in it."""

from pathlib import Path

from kto_tui.core.events import Progress, StepLogged, encode_event
from kto_tui.run.journal import JournalReader, JournalWriter, LineFollower, read_journal


def step(number: int) -> StepLogged:
    return StepLogged(step=number, total_steps=9, epoch=0.1, metrics={})


def test_numbers_go_on_after_a_restart_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = JournalWriter(path)
    assert [writer.append(step(1)).seq, writer.append(step(2)).seq] == [1, 2]
    writer.close()
    with path.open("ab") as file:
        file.write(b'{"type":"step_log')
    writer = JournalWriter(path)
    assert writer.append(step(3)).seq == 3
    writer.close()
    assert [(event.seq, event.step) for event in read_journal(path) if isinstance(event, StepLogged)] == [
        (1, 1), (2, 2), (3, 3),
    ]  # fmt: skip


def test_a_reader_waits_for_the_rest_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = encode_event(step(1))
    with JournalReader(path) as reader:
        assert reader.read_events() == []
        path.write_bytes(line[:20])
        assert reader.read_events() == []
        with path.open("ab") as file:
            file.write(line[20:] + b'{"type":"from_the_future"}\n' + encode_event(step(2)))
        assert [event.step for event in reader.read_events() if isinstance(event, StepLogged)] == [1, 2]
        assert reader.read_events() == []


def test_a_reader_sees_what_was_written_before_the_file_was_deleted(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer = JournalWriter(path)
    with JournalReader(path) as reader:
        reader.read_events()
        writer.append(step(1))
        path.unlink()
        assert len(reader.read_events()) == 1
    writer.close()


def test_many_events_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    progress = (Progress(seq=i, stage="training", done=i, total=30_000) for i in range(1, 30_001))
    path.write_bytes(b"".join(map(encode_event, progress)))
    assert [event.seq for event in read_journal(path)] == list(range(1, 30_001))


def test_lines_before_the_end_are_passed_over_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    path.write_bytes(b"old\n")
    with LineFollower(path, from_end=True) as follower:
        assert follower.read_new() == []
        path.write_bytes(b"old\nnew\n")
        assert follower.read_new() == [b"new"]
