"""Runs in a line each, however long their journals are."""

import tracemalloc
from pathlib import Path

from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import RunStarted, StepLogged, encode_event
from kto_tui.run.registry import summarize


def test_a_long_journal_is_summed_up_without_holding_it(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    begun = RunStarted(run_id="r", versions={}, host="h", devices=())
    with directory.events.open("wb") as file:
        file.write(encode_event(begun))
        for step in range(1, 30_001):
            file.write(
                encode_event(StepLogged(step=step, total_steps=30_000, epoch=1, metrics={"loss": 1.0}))
            )
    assert directory.events.stat().st_size > 4_000_000
    tracemalloc.start()
    summary = summarize(directory)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (summary.status, summary.step, summary.total_steps) == ("died", 30_000, 30_000)
    assert most < 15_000_000
