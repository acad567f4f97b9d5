"""What may be imported where, seen in a process of its own."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate")

LOOK = """
import sys
{statements}
print(" ".join(name for name in {names!r} if name in sys.modules))
"""


def imported(statements: str, names: tuple[str, ...]) -> str:
    """Which of these modules are loaded after the statements."""
    code = LOOK.format(statements=statements, names=names)
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize(
    "statements",
    [
        "import kto_tui.ui.app, kto_tui.ui.ask, kto_tui.ui.feed",
        "import kto_tui.run.supervisor, kto_tui.run.launch, train_worker",
        "import kto_tui.cli.start, kto_tui.cli.attach, kto_tui.cli.look, kto_tui.report.table",
        "import kto_tui.cli.chat, kto_tui.cli.export, kto_tui.cli.check_data, kto_tui.run.trained",
    ],
)
def test_dashboard_supervisor_and_commands_never_import_torch(statements: str) -> None:
    assert imported(statements, HEAVY) == ""


def test_the_supervisor_never_imports_textual() -> None:
    assert imported("import kto_tui.cli.start, kto_tui.run.supervisor", ("textual", "rich")) == ""


def test_help_imports_neither_ui_nor_data() -> None:
    statements = "from kto_tui.cli.parser import build_parser; build_parser().format_help()"
    assert imported(statements, ("textual", "pyarrow", "psutil", "pynvml", "multiprocessing", *HEAVY)) == ""
