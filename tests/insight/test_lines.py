"""Lines of the dashboard's logs."""

import pytest

from kto_tui.core.events import (
    AlertRaised,
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointPinned,
    CheckpointSaved,
)
from kto_tui.insight.lines import Line, alert_line, checkpoint_line, clock_text, detail_lines, moment_text
from kto_tui.insight.state import fold

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


def test_a_checkpoint_that_was_asked_for_is_listed_as_pinned() -> None:
    saved = CheckpointSaved(step=50, path=PATH, bytes=7, seconds=2.1, reason="requested")
    assert text(checkpoint_line(saved)).split()[-1] == "pinned"
    assert text(checkpoint_line(saved, keep_requested=False)).split()[-1] == "requested"
    pinned = text(checkpoint_line(CheckpointPinned(step=50, path=PATH)))
    assert pinned.split()[:3] == ["50", "checkpoint-50", "pinned"]


def test_what_an_alert_has_to_say_beyond_its_line_is_told_newest_first() -> None:
    stacks = 'Thread 0x1:\n  File "[red]a[/].py", line 3\n\n\x1b[2Jlast\n'
    alerts = [
        AlertRaised(time=1, kind="k", severity="error", message="first", detail="one"),
        AlertRaised(time=2, kind="k", severity="error", message="none"),
        AlertRaised(time=3, kind="k", severity="error", message="second", detail=stacks),
    ]
    assert [text(alert_line(alert)).endswith("(enter: details)") for alert in alerts] == [True, False, True]
    lines = [text(line) for line in detail_lines(fold(alerts))]
    assert [line.removeprefix(clock_text(3)).removeprefix(clock_text(1)) for line in lines] == [
        " second", "Thread 0x1:", '  File "[red]a[/].py", line 3', "last", "", " first", "one", "",
    ]  # fmt: skip
    assert len(detail_lines(fold(alerts), limit=1)) == 5


def test_what_is_very_long_is_cut() -> None:
    alert = AlertRaised(kind="k", severity="error", message="m" * 9000, advice="a" * 9000, detail="x\n" * 900)
    assert len(text(alert_line(alert))) < 2100
    lines = [text(line) for line in detail_lines(fold([alert]))]
    assert len(lines) == 403
    assert lines[-2:] == ["… and 500 lines more: run.log", ""]


@pytest.mark.parametrize("seconds", [1e300, -1e300, 1e18, float("nan"), float("inf")])
def test_a_moment_beyond_the_calendar_is_not_told(seconds: float) -> None:
    assert clock_text(seconds) == moment_text(seconds) == "–"
