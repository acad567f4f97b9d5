"""Watching a run that was started elsewhere: with the dashboard, or as the printed table."""

import sys
import time
from pathlib import Path

from kto_tui.cli.screen import has_screen, raise_if_refused, say, say_died
from kto_tui.core.commands import Command, CommandName, append_command, new_command
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.core.events import RunEnded, RunStarted
from kto_tui.core.resolve import recorded_settings
from kto_tui.insight.view import attach_command, resume_command
from kto_tui.run.journal import JournalReader
from kto_tui.run.registry import is_alive, newest_live_run

_POLL_SECONDS = 0.2


def attach(run_dir: str | None, *, no_ui: bool) -> int:
    """Watch this run, or the newest one alive. Returns the exit code of what was seen to end."""
    directory = _find(run_dir)
    config = recorded_settings(directory)
    if no_ui or not has_screen():
        return _print(directory, config or RunConfig(output_dir=str(directory.path)))
    return watch(directory, config)


def _find(run_dir: str | None) -> RunDirectory:
    if run_dir is None:
        newest = newest_live_run(Path())
        if newest is None:
            raise UserError(
                "no run is alive; name one with: kto-tui attach RUN_DIR (kto-tui runs lists them)"
            )
        return newest
    directory = RunDirectory.at(run_dir)
    if not directory.events.is_file():
        raise UserError(f"{run_dir}: holds no run (no events.jsonl); kto-tui runs lists those below a folder")
    return directory


def watch(directory: RunDirectory, config: RunConfig | None) -> int:
    """The dashboard on a run. Leaving it changes nothing in the run."""
    from kto_tui.ui.app import DashboardApp

    def send(name: CommandName) -> Command:
        command = new_command(name)
        append_command(directory.commands, command)
        return command

    app = DashboardApp(
        directory, config, alive=lambda: is_alive(directory), send=send if is_alive(directory) else None
    )
    outcome = app.run()
    if outcome is None:
        return app.return_code or 1  # The dashboard crashed, and has said how.
    alive, ended = is_alive(directory), app.state.ended
    if outcome == "ended" and ended is not None:
        return _farewell(directory, ended)
    if alive:
        say(f"Detached: the run goes on. Watch it again with: {attach_command(directory.path)}")
        return 0
    if outcome == "detached":
        return 0
    return say_died(directory.path)


def _farewell(directory: RunDirectory, ended: RunEnded) -> int:
    """Say how the run ended, once the dashboard is gone."""
    raise_if_refused(ended)
    if ended.status == "completed":
        say(f"Completed: step {ended.step}. The adapter is in {directory.final_model}")
        return ended.exit_code
    reason = f": {ended.error}" if ended.error else ""
    say(f"{ended.status.capitalize()} at step {ended.step}{reason}")
    if directory.checkpoints():
        say(f"Go on with: {resume_command(directory.path)}")
    return ended.exit_code


def _print(directory: RunDirectory, config: RunConfig) -> int:
    """The journal as the printed table: from its beginning to the run's end, or until Ctrl+C."""
    from kto_tui.report.stream import LineWriter, supports_color, supports_unicode
    from kto_tui.report.table import TablePrinter

    writer = LineWriter(sys.stdout)
    table = TablePrinter(
        config, writer.write, unicode=supports_unicode(sys.stdout), color=supports_color(sys.stdout)
    )
    ended: RunEnded | None = None
    with JournalReader(directory.events) as reader:
        while not writer.gone:
            alive = is_alive(directory)
            events = reader.read_events()
            for event in events:
                table.handle(event)
                if isinstance(event, (RunStarted, RunEnded)):
                    ended = event if isinstance(event, RunEnded) else None
            if not alive and not events:
                break
            if not events:
                time.sleep(_POLL_SECONDS)
    if writer.gone:
        return 0
    table.close()
    if ended is None:
        return say_died(directory.path)
    raise_if_refused(ended)
    return ended.exit_code
