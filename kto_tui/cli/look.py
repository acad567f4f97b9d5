"""Commands that only look: the list of runs, and the plan of one."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kto_tui.cli.request import check, settings_of
from kto_tui.core.errors import UserError, printable


def list_runs(root: str) -> int:
    """Print every run below a folder."""
    from kto_tui.report.runs import format_runs
    from kto_tui.report.stream import supports_unicode
    from kto_tui.run.registry import find_runs, summarize

    folder = Path(root)
    if not folder.is_dir():
        raise UserError(f"{root}: no such folder")
    summaries = [summarize(run) for run in sorted(find_runs(folder), key=lambda run: run.path)]
    if not summaries:
        sys.stdout.write(f"no runs below {printable(root)}\n")
        return 0
    text = format_runs(summaries, time.time(), unicode=supports_unicode(sys.stdout))
    sys.stdout.write(text)
    return 0


def show_plan(options: Mapping[str, Any]) -> int:
    """Print what would run, and what memory it takes. Starts and makes nothing."""
    from kto_tui.cli.planning import given_settings_of, memory_report
    from kto_tui.report.plan import format_plan

    asked = {name: value for name, value in options.items() if name not in ("gpu", "vram")}
    request = check(settings_of(asked), given_settings_of(asked), planned=True)
    config, memory = memory_report(request.config, request.data, options)
    sys.stdout.write(format_plan(config, request.data, request.evaluation, memory))
    return 0
