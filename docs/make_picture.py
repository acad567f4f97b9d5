"""Draws docs/dashboard.svg: the real dashboard over the journal of a recorded run.

    python docs/make_picture.py RUN_DIR [--until-step N] [--size 140x45] [--png]

Shows the run as it looked when step N was logged (by default, two thirds of the way). The picture is of
the journal as it is; only the clock stands at the moment shown.
"""

import argparse
import asyncio
import re
from pathlib import Path

from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import AnyEvent, StepLogged
from kto_tui.core.resolve import recorded_settings
from kto_tui.run.journal import read_journal
from kto_tui.ui.app import DashboardApp

HERE = Path(__file__).resolve().parent
# Rich's pictures ask for a web font; these are what viewers without a network have.
FONTS = "'DejaVu Sans Mono', Menlo, Consolas, monospace"
DRAW_SECONDS = 10.0


class Recorded:
    """The part of a journal that had been written at some moment."""

    def __init__(self, events: list[AnyEvent]) -> None:
        self._events = events

    def read_events(self) -> list[AnyEvent]:
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        pass


def until(events: list[AnyEvent], step: int | None) -> list[AnyEvent]:
    """The events up to the row of this step."""
    logged = [index for index, event in enumerate(events) if isinstance(event, StepLogged)]
    if not logged:
        raise SystemExit("the journal has no logged step yet")
    if step is None:
        return events[: logged[2 * len(logged) // 3] + 1]
    reached = [index for index in logged if _step(events[index]) <= step]
    return events[: (reached or logged[:1])[-1] + 1]


def _step(event: AnyEvent) -> int:
    assert isinstance(event, StepLogged)
    return event.step


async def draw(directory: RunDirectory, events: list[AnyEvent], width: int, height: int) -> str:
    """The dashboard's screen as SVG."""
    now = events[-1].time
    app = DashboardApp(
        directory,
        recorded_settings(directory),
        alive=lambda: True,
        send=None,
        clock=lambda: now,
        source=Recorded(list(events)),
    )
    step = max(_step(event) for event in events if isinstance(event, StepLogged))
    async with app.run_test(size=(width, height)) as pilot, asyncio.timeout(DRAW_SECONDS):
        while app.state.step < step:
            await pilot.pause(0.05)
        await pilot.pause(0.2)
        return with_local_fonts(app.export_screenshot(title="kto-tui"))


def with_local_fonts(svg: str) -> str:
    """The picture without the web font."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    return re.sub(r"font-family: *[^;]*Fira Code[^;]*;", f"font-family: {FONTS};", svg)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument("--until-step", type=int, metavar="N")
    parser.add_argument("--size", default="140x45", metavar="COLUMNSxROWS")
    parser.add_argument("--output", type=Path, default=HERE / "dashboard.svg")
    parser.add_argument("--png", action="store_true", help="also write a PNG beside it")
    options = parser.parse_args()
    width, height = (int(part) for part in options.size.split("x"))
    directory = RunDirectory(options.run)
    events = until(read_journal(directory.events), options.until_step)
    svg = asyncio.run(draw(directory, events, width, height))
    options.output.write_text(svg, encoding="utf-8")
    if options.png:
        import cairosvg

        cairosvg.svg2png(bytestring=svg.encode(), write_to=str(options.output.with_suffix(".png")), scale=1.0)
    print(options.output)


if __name__ == "__main__":
    main()
