"""A merged model as GGUF, by llama.cpp's own converter."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from kto_tui.core.errors import UserError, printable
from kto_tui.training.after.pipe import Pipe

TYPES = ("f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0", "auto")
_SCRIPT = "convert_hf_to_gguf.py"
_COMMANDS = (_SCRIPT, "convert-hf-to-gguf", "llama-convert-hf-to-gguf")
_FOLDER = "LLAMA_CPP_DIR"


def find_converter(kind: str) -> list[str]:
    """The command that converts, for a type that it knows. Raises UserError, which says how to get one."""
    if kind.lower() not in TYPES:
        raise UserError(
            f"--gguf {printable(kind)}: llama.cpp's converter writes {', '.join(TYPES)}; for smaller "
            "types convert to f16, then run its llama-quantize on that file"
        )
    if given := os.environ.get(_FOLDER):
        script = Path(given).expanduser() / _SCRIPT
        if not script.is_file():
            raise UserError(
                f"{_FOLDER}={printable(given)}: found no {_SCRIPT} there; name llama.cpp's folder"
            )
        return [sys.executable, str(script)]
    for name in _COMMANDS:
        if found := shutil.which(name):
            return [sys.executable, found] if found.endswith(".py") else [found]
    if importlib.util.find_spec("convert_hf_to_gguf"):
        return [sys.executable, "-m", "convert_hf_to_gguf"]
    raise UserError(
        "--gguf: llama.cpp's converter is not here; get its source (https://github.com/ggml-org/llama.cpp) "
        f"and set {_FOLDER} to its folder, or: pipx install convert-hf-to-gguf"
    )


def convert(pipe: Pipe, converter: list[str], model: Path, kind: str) -> Path:
    """Write the file into the model's folder, whole or not at all. Raises UserError with its last words."""
    target = model / f"model-{kind.lower()}.gguf"
    if target.exists():
        raise UserError(f"--gguf: {printable(str(target))} is there already; delete it, or name another type")
    for torn in model.glob("model-*.unfinished"):
        torn.unlink()
    beside = target.with_suffix(".unfinished")
    pipe.leftovers.append(beside)
    command = [*converter, str(model), "--outtype", kind.lower(), "--outfile", str(beside)]
    try:
        process = pipe.begin(command)
    except OSError as error:
        raise _failed(model, str(error)) from error
    printed, _ = process.communicate()
    words = [line for line in printed.splitlines() if line.strip()] or ["nothing"]
    if process.returncode or not beside.is_file():
        beside.unlink(missing_ok=True)
        raise _failed(model, words[-1])
    beside.rename(target)
    return target


def _failed(model: Path, words: str) -> UserError:
    return UserError(
        f"--gguf: llama.cpp's converter failed; its last words: {printable(words.strip()[:300])}; the merged "
        f"model is in {printable(str(model))}"
    )
