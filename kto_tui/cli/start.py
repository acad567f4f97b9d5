"""Starting a run: in the foreground with the table, or on its own with the dashboard attached."""

import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from kto_tui.cli.attach import watch
from kto_tui.cli.request import check, settings_of
from kto_tui.cli.screen import has_screen, raise_if_refused, warn
from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import WRONG_REQUEST, UserError
from kto_tui.core.events import RunEnded
from kto_tui.core.resolve import recorded_settings
from kto_tui.insight.view import attach_command, resume_command
from kto_tui.run.launch import check_output_dir, create, discard, narrow_umask, start_detached
from kto_tui.run.record import Observer
from kto_tui.run.supervisor import Supervisor


def start(options: Mapping[str, Any]) -> int:
    """Check the request, then run it. Returns the exit code."""
    narrow_umask()
    config = settings_of(options)
    if options["no_ui"] or not has_screen():
        directory = check_output_dir(config)
        return _in_foreground(_checked(config, options), directory)
    if _is_taken(config):
        match _ask(config):
            case "resume":
                asked = {"resume_from_checkpoint": "latest", "output_dir": config.output_dir}
                config = settings_of({**options, **asked})
            case "overwrite":
                config = msgspec.structs.replace(config, overwrite=True)
            case "attach":
                directory = _folder(config)
                return watch(directory, recorded_settings(directory))
            case _:
                return 0
    directory = check_output_dir(config)
    config = _checked(config, options)
    create(config, directory)
    start_detached(directory, config.resume_from_checkpoint, allow_changed=config.allow_changed_settings)
    return watch(directory, config)


def _checked(config: RunConfig, options: Mapping[str, Any]) -> RunConfig:
    """The settings that will run, with a micro-batch that fits. Raises UserError."""
    from kto_tui.cli.planning import fit_request, given_settings_of, lengths_of, named_settings

    named = named_settings(options)
    request = check(config, given_settings_of(options))
    fitting, notes = fit_request(request.config, named, lengths_of(request.data, request.config))
    for note in notes:
        warn(note)
    return fitting


def supervise(run_dir: str, resume_from: str | None, *, allow_changed: bool = False) -> int:
    """The supervisor on its own, as `start_detached` begins it."""
    narrow_umask()
    directory = RunDirectory.at(run_dir)
    config = recorded_settings(directory)
    if config is None:
        raise UserError(f"{directory.settings}: no settings that can be read")
    config = msgspec.structs.replace(
        config, resume_from_checkpoint=resume_from, allow_changed_settings=allow_changed
    )
    return _live(config, []).exit_code


def _in_foreground(config: RunConfig, directory: RunDirectory) -> int:
    from kto_tui.report.stream import LineQueue, not_printed, supports_color, supports_unicode
    from kto_tui.report.table import TablePrinter

    create(config, directory)
    with LineQueue(sys.stdout, _printing_command(directory)) as lines:
        table = TablePrinter(
            config, lines.write, unicode=supports_unicode(sys.stdout), color=supports_color(sys.stdout)
        )
        ended = _live(config, [table.handle])
    raise_if_refused(ended)
    words = f"kto-tui: {ended.status} at step {ended.step}"
    if lines.gone and ended.status != "completed":
        # The reader of our output (tee, say) went with the same Ctrl+C: the user still has to know.
        _complain(f"{words}; go on with: {resume_command(directory.path)}")
    elif missing := lines.unprinted:
        _complain(f"{words}; {not_printed(missing)}, see: {_printing_command(directory)}")
    return ended.exit_code


def _complain(words: str) -> None:
    """To stderr, which may be the same terminal that stands still."""
    from kto_tui.report.stream import LineQueue

    with LineQueue(sys.stderr, all_of_it="") as lines:
        lines.write(words)


def _printing_command(directory: RunDirectory) -> str:
    """The command that prints the whole run, from its journal."""
    return f"{attach_command(directory.path)} --no-ui"


def _live(config: RunConfig, observers: list[Observer]) -> RunEnded:
    """Supervise one sitting. A request that the worker found wrong leaves no half-made folder behind.

    Whatever was trained stays: a run that was parked, or started again, may be refused only then.
    """
    import train_worker

    directory = _folder(config)
    supervisor = Supervisor(config, train_worker.main, observers)
    ended = supervisor.run()
    fresh = config.resume_from_checkpoint is None and not directory.checkpoints() and supervisor.workers == 1
    if ended.exit_code == WRONG_REQUEST and fresh:
        discard(directory)
    return ended


def _folder(config: RunConfig) -> RunDirectory:
    assert config.output_dir is not None
    return RunDirectory.at(config.output_dir)


def _is_taken(config: RunConfig) -> bool:
    return _folder(config).holds_run() and not (config.overwrite or config.resume_from_checkpoint)


def _ask(config: RunConfig) -> str:
    """What the user wants done with the run that the folder holds."""
    from kto_tui.run.registry import summarize
    from kto_tui.ui.ask import ask_existing_run

    return ask_existing_run(summarize(_folder(config)))
