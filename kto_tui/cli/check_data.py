"""`kto-tui check-data`: what rated data holds, what is wrong with it, and a file without that."""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from kto_tui.core.config import SAMPLE_DATASET, TINY_MODEL, RunConfig
from kto_tui.core.errors import WRONG_REQUEST, UserError, printable
from kto_tui.core.resolve import read_settings, resolve
from kto_tui.data.survey.checking import Checked, check
from kto_tui.data.survey.fixing import Fixed, check_target, part_of
from kto_tui.data.survey.talk import Doing, Done, Refused, Request, decode, encode
from kto_tui.data.wording import listed
from kto_tui.models.check import local_folder
from kto_tui.report.data_report import WIDTH, format_checked
from kto_tui.report.frame import Frame
from kto_tui.report.stream import LineWriter, supports_color, supports_unicode

_EVERY_SECONDS = 0.2
_ENDING_SECONDS = 5
_NARROWEST, _WIDEST = 60, 120


def check_data(options: Mapping[str, Any]) -> int:
    """Print the report; with --fix, write the file. Returns 0, or 2 where there is something to mend."""
    config, has_model = _settings(options)
    fix = Path(options["fix"]).expanduser() if "fix" in options else None
    if fix is not None:
        check_target(fix)
    with _Status(sys.stderr) as status:
        checked = _in_child(config, fix, status) if has_model else check(config, status.reading, fix=fix)
    frame = Frame(unicode=supports_unicode(sys.stdout), color=supports_color(sys.stdout))
    writer = LineWriter(sys.stdout)
    for line in format_checked(checked.reports, _told(checked), frame, _width(sys.stdout)):
        writer.write(line)
    for line in _fixed_lines(checked, frame):
        writer.write(line)
    return WRONG_REQUEST if checked.errors else 0


def _settings(options: Mapping[str, Any]) -> tuple[RunConfig, bool]:
    """The settings asked for, and whether they name a model. Raises UserError."""
    given = {
        name: value for name, value in options.items() if name not in ("source", "fix", "config", "no_ui")
    }
    config_file = Path(options["config"]) if "config" in options else None
    if sources := [*options.get("source", ()), *given.get("dataset", ())]:
        given["dataset"] = sources
    written = read_settings(config_file) if config_file else {}
    has_model = any(name in settings for settings in (given, written) for name in ("model", "model_size"))
    if not has_model:
        given["model"] = TINY_MODEL  # Settings have to name one; nothing asks for it.
    config = resolve(given, config_file)
    if config.dataset is None:
        raise UserError(f"no data: kto-tui check-data FILE ({SAMPLE_DATASET} is a small sample)")
    return config, has_model


def _told(checked: Checked) -> dict[str, list[str]]:
    return {split: bad.first for split, bad in checked.bad.items()}


def _width(stream: IO[str]) -> int:
    """Cells of a line: those of the terminal, as far as lines of such a length are read with ease."""
    columns = shutil.get_terminal_size((WIDTH, 0)).columns if stream.isatty() else WIDTH
    return min(max(columns, _NARROWEST), _WIDEST)


def _fixed_lines(checked: Checked, frame: Frame) -> list[str]:
    """What --fix did, if it was asked for: what it wrote, and a line for each kind that it left out."""
    if checked.not_written:
        return ["", frame.paint(frame.text(checked.not_written), "bad")]
    if (fixed := checked.fixed) is None:
        return []
    rows = f"{fixed.rows:,} row{'' if fixed.rows == 1 else 's'}"
    return ["", frame.text(f"Written: {rows} to {fixed.path}"), *_changes(fixed, checked, frame)]


def _changes(fixed: Fixed, checked: Checked, frame: Frame) -> list[str]:
    lines = []
    if fixed.cleaned:
        records = f"{fixed.cleaned:,} record{'' if fixed.cleaned == 1 else 's'}"
        lines.append(f"cleaned {records} of byte order marks, NUL and other controls")
    lines += [f"left out {count:,}: {reason}" for reason, count in fixed.left_out.items()]
    if fixed.weighted:
        lines.append(f"each row is in it once: {listed(fixed.weighted)} has no weight any more")
    if checked.bad["train"].broken_off:
        lines.append("rows after the place where a file breaks off are not in it")
    return ["  " + frame.text(line) for line in lines]


class _Status:
    """How far it is, on one line of a terminal that is written over; nothing where there is none."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._shown = stream.isatty()
        self._said = 0.0
        self._width = 0

    def __enter__(self) -> "_Status":
        return self

    def __exit__(self, *_: object) -> None:
        self.say("")
        if self._width:
            self._stream.write("\r")
            self._stream.flush()

    def reading(self, rows: int) -> None:
        """So many rows were read."""
        if time.monotonic() - self._said >= _EVERY_SECONDS:
            self.say(f"reading: {rows:,} rows")

    def say(self, text: str) -> None:
        """Show this in place of what was shown."""
        if not self._shown or (not text and not self._width):
            return
        self._said = time.monotonic()
        self._stream.write("\r" + printable(text).ljust(self._width))
        self._stream.flush()
        self._width = max(self._width, len(text))


def _in_child(config: RunConfig, fix: Path | None, status: _Status) -> Checked:
    """Have a process with the tokenizer do it. Raises UserError; ends the process with this one."""
    assert config.model is not None
    local_folder(config.model)  # A folder that is not there is told at once.
    status.say("starting the tokenizer ...")
    request = encode(Request(config=config, fix=str(fix) if fix is not None else None))
    with tempfile.TemporaryFile() as log:
        with _counting(log, fix) as child:
            assert child.stdin is not None
            with suppress(BrokenPipeError):  # It died: that is told below, with what it said.
                child.stdin.write(request)
                child.stdin.close()
            if (checked := _listen(child, status)) is not None:
                return checked
            child.wait()
        raise UserError(
            f"the process that counts tokens died (exit code {child.returncode}){_last_line(log)}"
        )


@contextmanager
def _counting(log: IO[bytes], fix: Path | None) -> Iterator["subprocess.Popen[bytes]"]:
    """The process with the tokenizer, which has ended when this ends, and left no part of a file.

    Ctrl-C waits while it is started: within Popen, the interrupt would leave a process that nobody knows of.
    """
    child = None
    try:
        with _interrupted_later():
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "kto_tui.training.survey"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        yield child
    finally:
        if child is not None:
            _end(child)
            if fix is not None:
                part_of(fix, child.pid).unlink(missing_ok=True)


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Hold Ctrl-C back until the end. A mask would not do: it is one thread's, and numpy has others."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    caught: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if caught:
        raise KeyboardInterrupt


def _listen(child: "subprocess.Popen[bytes]", status: _Status) -> Checked | None:
    """Its outcome; None where it ended without one. Raises UserError."""
    assert child.stdout is not None
    for line in child.stdout:
        match decode(line):
            case Doing(what=what, rows=rows):
                status.say(f"{what}: {rows:,} rows" if rows else f"{what} ...")
            case Refused(message=message):
                raise UserError(message)
            case Done(checked=checked):
                return checked
    return None


def _end(child: "subprocess.Popen[bytes]") -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    child.terminate()
    try:
        child.wait(_ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    child.stdout.close()
    with suppress(BrokenPipeError):
        child.stdin.close()


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {printable(last)[:300]}" if last else ""
