"""Opening the dashboard on a run of many logged steps."""

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.measure import seconds
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import RunStarted, StepLogged, encode_event
from kto_tui.run.journal import read_journal
from kto_tui.ui.app import DashboardApp

_STEPS = 100_000


def opening_a_long_journal() -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder))
        metrics = {"loss": 0.4, "learning_rate": 5e-7, "rewards/margins": 0.8}
        steps = (
            StepLogged(step=step, total_steps=_STEPS, epoch=1, metrics=metrics)
            for step in range(1, _STEPS + 1)
        )
        begun = RunStarted(run_id="r", versions={}, host="h", devices=())
        directory.events.write_bytes(b"".join(map(encode_event, (begun, *steps))))
        reading = seconds(lambda: read_journal(directory.events))
        opening, longest = asyncio.run(open_dashboard(directory))
    print(
        f"a journal of {_STEPS:,} steps: read in {reading:.2f} s; on the dashboard after {opening:.2f} s, "
        f"which stood still for at most {1000 * longest:.0f} ms"
    )


async def open_dashboard(directory: RunDirectory) -> tuple[float, float]:
    """Seconds until the last step is there, and the longest time in which the event loop did not turn."""
    app = DashboardApp(directory, RunConfig(), alive=lambda: True, send=None)
    begun = last = time.perf_counter()
    longest = 0.0
    async with app.run_test(size=(140, 45)) as pilot:
        while app.state.step < _STEPS:
            await pilot.pause(0.01)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    return last - begun, longest


if __name__ == "__main__":
    opening_a_long_journal()
