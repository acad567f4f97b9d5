"""Signals that a scheduler, a terminal or a person sends: TERM, HUP, USR1, STOP."""

import functools
import os
import signal

from kto_tui.core.events import AlertRaised, CheckpointSaved, CommandDone, RunEnded
from tests.faults.harness import Broken, Run
from tests.faults.kinds import alerts
from tests.faults.lab import Lab
from tests.faults.moments import STAGING, Moment, at_step, in_stage, meet
from tests.faults.scenarios.kills import wait_for_a_step
from tests.faults.scenarios.registry import Scenario

GRACE_SECONDS = 5.0
STARTING_SECONDS = 1.0
ANSWERED_SECONDS = 20.0
STUCK_SECONDS = 200.0


def terminated(lab: Lab, run: Run, moment: Moment, grace: float | None) -> None:
    """SIGTERM to the whole group, as a scheduler does: saved, gone in time, exit code 143; then resume."""
    run.worker()
    meet(run, moment)
    words = f", --grace-seconds {grace:g}" if grace else ""
    since = lab.injected(f"SIGTERM, {moment.name}{words}")
    assert run.supervisor is not None
    os.killpg(run.supervisor.pid, signal.SIGTERM)
    code = run.end(GRACE_SECONDS + STARTING_SECONDS)
    lab.check_fault(run)
    _check_stopped(run, code)
    run.recover()
    wait_for_a_step(lab, run, since)


def _check_stopped(run: Run, code: int) -> None:
    ended = run.events[-1]
    if code != 143 or not isinstance(ended, RunEnded) or ended.status != "stopped":
        raise Broken(f"expected run_ended (stopped) and exit code 143; found {ended} and {code}")
    saved = max((event.step for event in run.of(CheckpointSaved)), default=0)
    if saved < run.step:
        raise Broken(f"step {run.step} was logged, and step {saved} is the newest that was saved")


def sigterm(moment: Moment, grace: float | None, lab: Lab) -> None:
    run = lab.run()
    run.start(*(("--grace-seconds", f"{grace:g}") if grace else ()))
    terminated(lab, run, moment, grace)
    lab.complete(run, redone=0)


def hang_up_and_checkpoint_and_terminate(lab: Lab) -> None:
    """In one run: its terminal goes away, a checkpoint is wanted, the machine is wanted; then resume."""
    run = lab.run()
    run.start("--grace-seconds", f"{GRACE_SECONDS:g}")
    _hang_up(lab, run, at_step(2))
    _checkpoint_now(lab, run, at_step(7))
    terminated(lab, run, at_step(28), GRACE_SECONDS)
    lab.complete(run, redone=0)


def _hang_up(lab: Lab, run: Run, moment: Moment) -> None:
    run.worker()
    meet(run, moment)
    since = lab.injected(f"SIGHUP, {moment.name}")
    assert run.supervisor is not None
    os.killpg(run.supervisor.pid, signal.SIGHUP)
    wait_for_a_step(lab, run, since)


def _checkpoint_now(lab: Lab, run: Run, moment: Moment) -> None:
    """SIGUSR1 to the supervisor: a checkpoint is written at once, and the run goes on."""
    run.worker()
    meet(run, moment)
    since = lab.injected(f"SIGUSR1, {moment.name}")
    run.kill_supervisor(signal.SIGUSR1)
    run.wait_for(lambda run: bool(run.of(CommandDone)), "an answer to SIGUSR1", ANSWERED_SECONDS)
    (done,) = run.of(CommandDone)
    lab.recovered(since)
    saved = [f"checkpoint-{event.step}" for event in run.of(CheckpointSaved)]
    if (done.command, done.outcome) != ("checkpoint", "done") or done.detail not in saved:
        raise Broken(f"SIGUSR1 was answered so: {done}; saved: {saved}")


def hang_up_while_loading(lab: Lab) -> None:
    """A signal handler that is not there yet would be the end of it."""
    run = lab.run()
    run.start()
    _hang_up(lab, run, in_stage("loading_model"))
    lab.complete(run)


def checkpoint_now_while_loading(lab: Lab) -> None:
    run = lab.run()
    run.start()
    _checkpoint_now(lab, run, in_stage("loading_model"))
    lab.complete(run)


def stuck(lab: Lab) -> None:
    """The worker stands still: an alert says so; once it moves again, nothing is different."""
    run = lab.run()
    run.start()
    run.worker()
    meet(run, at_step(22))
    since = lab.injected("worker SIGSTOP, then SIGCONT")
    run.kill_worker(signal.SIGSTOP)
    try:
        run.wait_for(lambda run: bool(_stuck(run)), "an alert worker_stuck", STUCK_SECONDS)
    finally:
        run.kill_worker(signal.SIGCONT)
    wait_for_a_step(lab, run, since)
    if len(_stuck(run)) > 1:
        raise Broken(f"one standstill, and {len(_stuck(run))} alerts")
    lab.complete(run)


def _stuck(run: Run) -> list[AlertRaised]:
    return alerts(run, "worker_stuck")


_LOADING = in_stage("loading_model")

SCENARIOS = (
    Scenario("signals", hang_up_and_checkpoint_and_terminate),
    Scenario("sigterm-grace-saving", functools.partial(sigterm, STAGING, GRACE_SECONDS)),
    Scenario("sigterm-grace-loading", functools.partial(sigterm, _LOADING, GRACE_SECONDS)),
    Scenario("sigterm", functools.partial(sigterm, at_step(8), None)),
    Scenario("sighup-loading", hang_up_while_loading),
    Scenario("sigusr1-loading", checkpoint_now_while_loading),
    Scenario("worker-stuck", stuck),
)
