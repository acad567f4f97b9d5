"""Starts over what a crash left behind, and two starts at once."""

import json
import os
import subprocess
import time

from kto_tui.core.events import RunStarted
from tests.faults.harness import PATIENCE_SECONDS, Broken, Run, wait_until
from tests.faults.lab import Lab
from tests.faults.moments import at_step, meet
from tests.faults.scenarios.damage import crashed
from tests.faults.scenarios.registry import Scenario


def two_at_once(lab: Lab) -> None:
    """One of them gets the folder; the other one says so in a line. So does one that comes later."""
    run = lab.run()
    lab.injected("two starts at once")
    run.start()
    first = run.supervisor
    run.start()
    second = run.supervisor
    assert first is not None
    assert second is not None
    wait_until(lambda: first.poll() is not None or second.poll() is not None, "one of them is refused")
    winner, loser, number = (second, first, 1) if first.poll() is not None else (first, second, 2)
    _check_refused(run, loser, number)
    run.supervisor = winner
    meet(run, at_step(3))
    lab.injected("a start beside a live run")
    run.start()
    late, run.supervisor = run.supervisor, winner
    assert late is not None
    late.wait(PATIENCE_SECONDS)
    _check_refused(run, late, 3)
    lab.complete(run)
    if len(run.of(RunStarted)) != 1:
        raise Broken("both starts have written into the journal")


def _check_refused(run: Run, process: subprocess.Popen[bytes], number: int) -> None:
    words = (run.folder / f"printed-{number}.txt").read_text(encoding="utf-8").strip()
    if process.returncode != 2 or "\n" in words or not words:
        raise Broken(f"expected a refusal in one line, with exit code 2; found {process.returncode}: {words}")


def stale_lock(lab: Lab) -> None:
    """The lock file of a crash names a process id that somebody else has by now."""
    run = crashed(lab, 8)
    lab.injected("stale lock file")
    run.directory.lock.write_text(f"{os.getpid()}\n")
    run.resume()
    lab.complete(run)


def torn_journal(lab: Lab) -> None:
    """The last line of the journal is half there; what stands before it counts."""
    run = crashed(lab, 12)
    lab.injected("torn line in the journal")
    with run.directory.events.open("ab") as journal:
        journal.write(b'{"type":"step_logged","seq":9')
    run.resume()
    lab.complete(run, torn_lines=1)


def newer_journal(lab: Lab) -> None:
    """A later version wrote events that this one does not know."""
    run = crashed(lab, 12)
    lab.injected("journal of a newer version")
    last = json.loads(run.directory.events.read_bytes().split(b"\n")[-2])["seq"]
    line = {"type": "from_the_future", "seq": last + 1, "time": 0.0, "what": {"nested": [1, 2]}}
    with run.directory.events.open("ab") as journal:
        journal.write(json.dumps(line).encode() + b"\n")
    run.resume()
    lab.complete(run)


def crash_and_all_of_it(lab: Lab) -> None:
    """The short form: a stale lock and a torn line at once."""
    run = crashed(lab, 12)
    lab.injected("stale lock file and torn line")
    run.directory.lock.write_text(f"{os.getpid()}\n")
    with run.directory.events.open("ab") as journal:
        journal.write(b'{"type":"checkpoint_saved","seq')
    run.resume()
    lab.complete(run, torn_lines=1)


def killed_starting(lab: Lab, kills: int = 5) -> None:
    """In its first moments, before the journal, before the worker, or just after."""
    run = lab.run()
    for _ in range(kills):
        run.start("--overwrite")
        killed_early(lab, run, "supervisor SIGKILL within its first second")
    run.start("--overwrite")
    lab.complete(run)


def killed_resuming_early(lab: Lab, kills: int = 4) -> None:
    run = crashed(lab, 12)
    for _ in range(kills):
        run.resume()
        killed_early(lab, run, "supervisor SIGKILL within its first second, resuming")
        lab.check_fault(run)
    run.resume()
    lab.complete(run)


def killed_early(lab: Lab, run: Run, fault: str) -> None:
    time.sleep(lab.random.uniform(0.1, 1.2))
    lab.injected(fault)
    run.kill_supervisor()
    run.end()
    run.wait_until_gone()


SCENARIOS = (
    Scenario("two-starts", two_at_once),
    Scenario("starts-killed", killed_starting, kills=5),
    Scenario("resumes-killed-early", killed_resuming_early, kills=4),
    Scenario("stale-lock-torn-line", crash_and_all_of_it),
    Scenario("stale-lock", stale_lock),
    Scenario("torn-journal", torn_journal),
    Scenario("newer-journal", newer_journal),
)
