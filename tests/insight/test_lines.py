"""Lines of the dashboard's logs."""

import pytest

from kto_tui.core.events import AlertRaised, CheckpointDeleted, CheckpointFailed, CheckpointSaved
from kto_tui.insight.lines import Line, alert_line, checkpoint_line

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


@pytest.mark.parametrize(
    ("message", "advice", "shown"),
    [
        ("few rows", "Add some.", "i few rows (step 5). Add some."),
        ("Few rows!", "Add some.", "i Few rows! (step 5) Add some."),
        ("few rows", "", "i few rows (step 5)"),
    ],
)
def test_a_full_stop_stands_before_the_advice(message: str, advice: str, shown: str) -> None:
    alert = AlertRaised(kind="data", severity="info", message=message, advice=advice, step=5)
    assert text(alert_line(alert)).split(" ", 1)[1] == shown
