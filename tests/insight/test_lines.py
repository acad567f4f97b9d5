"""Lines of the dashboard's logs."""

from kto_tui.core.events import CheckpointDeleted, CheckpointFailed, CheckpointSaved
from kto_tui.insight.lines import Line, checkpoint_line

PATH = "/another/machine/run/checkpoint-50"


def text(line: Line) -> str:
    return "".join(piece.text for piece in line)


def test_a_checkpoint_is_named_wherever_the_journal_was_written() -> None:
    saved = CheckpointSaved(step=50, path=PATH, bytes=1_300_000_000, seconds=2.1, reason="paused")
    assert text(checkpoint_line(saved)).split() == ["50", "checkpoint-50", "1.3", "GB", "2.1", "s", "paused"]
    deleted = text(checkpoint_line(CheckpointDeleted(step=50, path=PATH)))
    assert deleted.split()[:3] == ["50", "checkpoint-50", "deleted"]


def test_a_failed_checkpoint_says_why_and_cannot_forge_the_screen() -> None:
    failed = CheckpointFailed(step=50, path=PATH, error="OSError: \x1b[2Jno space\nleft")
    assert text(checkpoint_line(failed)).endswith("FAILED: OSError: no space left")
