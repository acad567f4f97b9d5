"""What the rooms of the command line import before they are asked anything."""

import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "transformers",
    "pyarrow",
    "datasets",
    "pandas",
    "numpy",
    "huggingface_hub",
    "textual",
    "gguf",
}


@pytest.mark.parametrize("module", ["kto_tui.data", "kto_tui.models.check", "kto_tui.cli.request"])
def test_import_is_light(module: str) -> None:
    code = f"import sys, {module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
