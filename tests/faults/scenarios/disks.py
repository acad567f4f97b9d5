"""The disk fails the run: full for checkpoints, full for the journal too, read-only, failing."""

import functools
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack

from kto_tui.core.events import AlertRaised, CheckpointFailed, CheckpointSaved, StepLogged
from tests.faults.disk import fill, limit_file_size, mounted
from tests.faults.harness import Broken, Run, Settings, plain
from tests.faults.invariants import announced, check_checkpoints
from tests.faults.kinds import alerts
from tests.faults.lab import Lab
from tests.faults.moments import at_step, meet
from tests.faults.scenarios.registry import Scenario

# Steps enough for the disk to be full for a while, and free again before the end.
LONG = Settings(max_steps=160)
DISK_BYTES = 40 << 20
LAST_WORDS_BYTES = 64 << 10
JOURNAL_BYTES = 256 << 10
BASE_BYTES = 3200 << 10  # What the built-in model takes.
NO_ROOM_SECONDS = 1.0
_SIZE = re.compile(r"\d[\d.,]* ?([kMGT]i?)?(B|bytes)")


def failed_saves(
    lab: Lab, run: Run, fault: str, begin: Callable[[], object], end: Callable[[], object]
) -> None:
    """Between `begin` and `end` no checkpoint can be written: the run goes on, and the next save works."""
    run.worker()
    meet(run, at_step(16))
    since = lab.injected(fault)
    begin()
    try:
        run.wait_for(lambda run: bool(run.of(CheckpointFailed)), "checkpoint_failed", 20)
        failed = run.of(CheckpointFailed)[0]
        run.wait_for(lambda run: run.step > failed.step, "steps after the failed save", 20)
        check_checkpoints(run.directory, run.events, run.settings.save_total_limit, mid_rotation=True)
        if not announced(run.events):
            raise Broken("the older checkpoints are gone")
    finally:
        end()
    mended = run.step
    run.wait_for(
        lambda run: any(event.step > mended for event in run.of(CheckpointSaved)), "a save once there is room"
    )
    lab.recovered(since)
    if not alerts(run, "checkpoint_failed"):
        raise Broken("no alert checkpoint_failed")


def full_for_checkpoints(lab: Lab) -> None:
    with mounted(lab.folder / "disk", f"size={DISK_BYTES}") as disk:
        run = lab.run(output=disk / "out")
        run.start()
        failed_saves(
            lab,
            run,
            "disk full for checkpoints",
            lambda: fill(disk, JOURNAL_BYTES),
            lambda: (disk / "ballast").unlink(),
        )
        _check_sizes_named(run)
        lab.complete(run)


def _check_sizes_named(run: Run) -> None:
    """The alert says how many bytes are needed and how many are free."""
    alert = alerts(run, "checkpoint_failed")[0]
    text = f"{alert.message} {alert.advice}"
    if len(_SIZE.findall(text)) < 2 or not re.search("need", text) or not re.search("free", text):
        raise Broken(f"the alert does not name the bytes needed and free: {text}")


def full_for_the_journal(lab: Lab) -> None:
    """Not a byte is free: the run goes on, and what it had to say meanwhile is in the journal afterwards."""
    with mounted(lab.folder / "disk", f"size={DISK_BYTES}") as disk:
        run = lab.run(LONG, output=disk / "out")
        run.start()
        run.worker()
        meet(run, at_step(22))
        lab.injected("disk full to the last byte")
        ballast = fill(disk, 0)
        time.sleep(NO_ROOM_SECONDS)
        if run.over:
            raise Broken(f"a full disk ended the run: {run.output[-600:]}")
        ballast.unlink()
        lab.complete(run)
        steps = [event.step for event in run.of(StepLogged)]
        if steps != list(range(1, LONG.max_steps + 1)):
            raise Broken(f"the journal is not whole; steps logged: {steps}")


def full_at_the_end(lab: Lab) -> None:
    """No room for the last checkpoint and final_model: said so; once there is room, a resume writes them."""
    with mounted(lab.folder / "disk", f"size={DISK_BYTES}") as disk:
        run = lab.run(output=disk / "out")
        run.start()
        run.worker()
        meet(run, at_step(36))
        lab.injected("disk full for final_model")
        ballast = fill(disk, LAST_WORDS_BYTES)
        code = run.end()
        lab.check_fault(run)
        if code != 1 or run.directory.final_model.exists():
            raise Broken(
                f"final_model could not be written, and the run ended with {code}: {run.output[-600:]}"
            )
        if "--resume-from-checkpoint latest" not in plain(run.output) or "Traceback" in run.output:
            raise Broken(f"the end does not say how to go on: {run.output[-600:]}")
        ballast.unlink()
        run.resume()
        lab.complete(run)


def full_at_the_start(leave_bytes: int, lab: Lab) -> None:
    """A run that cannot save even one checkpoint says so before it trains for hours."""
    with mounted(lab.folder / "disk", f"size={DISK_BYTES}") as disk:
        run = lab.run(output=disk / "out")
        ballast = fill(disk, leave_bytes)
        lab.injected(f"disk full at the start, {leave_bytes >> 10} KiB free")
        run.start()
        run.end()
        text = run.output + " ".join(f"{each.message} {each.advice}" for each in run.of(AlertRaised))
        if not re.search(r"free", text) or not _SIZE.search(text):
            raise Broken(f"nothing says that there is no room: {text[-600:]}")
        if "Traceback" in text:
            raise Broken(f"a traceback: {text[-600:]}")
        run.wait_until_gone()
        ballast.unlink()


def read_only(lab: Lab) -> None:
    """The place where checkpoints are written turns read-only, and back."""
    run = lab.run()
    run.start()
    with ExitStack() as mounts:
        failed_saves(
            lab,
            run,
            "read-only for checkpoints",
            lambda: [mounts.enter_context(mounted(run.directory.staging, "ro"))],
            mounts.close,
        )
        lab.complete(run)


def read_only_resume(lab: Lab) -> None:
    """The whole disk was mounted read-only after a crash: a resume is refused in one line; then it works."""
    with mounted(lab.folder / "disk", f"size={DISK_BYTES}") as disk:
        run = lab.run(output=disk / "out")
        run.start()
        run.worker()
        meet(run, at_step(12))
        run.kill_both()
        run.wait_until_gone()
        run.forget_journal()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        lab.injected("resume on a read-only disk")
        run.resume()
        code, words = run.end(), run.output.strip()
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        if code != 2 or "\n" in words:
            raise Broken(f"expected one line and exit code 2; found {code}: {words}")
        run.resume()
        lab.complete(run)


def failing_writer(lab: Lab) -> None:
    """The system refuses the worker's larger writes, as it does where a quota is used up."""
    run = lab.run()
    run.start()
    worker = run.worker()
    failed_saves(
        lab,
        run,
        "writes fail (quota)",
        lambda: limit_file_size(worker, 64 << 10),
        lambda: limit_file_size(worker, None),
    )
    lab.complete(run)


SCENARIOS = (
    Scenario("disk-full", full_for_checkpoints, short=True),
    Scenario("disk-full-journal", full_for_the_journal),
    Scenario("disk-full-final", full_at_the_end),
    Scenario("disk-full-start", functools.partial(full_at_the_start, JOURNAL_BYTES)),
    Scenario("disk-short-start", functools.partial(full_at_the_start, BASE_BYTES + JOURNAL_BYTES)),
    Scenario("disk-read-only", read_only),
    Scenario("disk-read-only-resume", read_only_resume),
    Scenario("disk-failing", failing_writer),
)
