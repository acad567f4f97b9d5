"""Stop and park, asked at moments when no step is taken: honoured within seconds, not at the next step."""

import functools

import psutil

from kto_tui.core.commands import CommandName
from tests.faults.harness import Broken, Run, is_worker, wait_until
from tests.faults.kinds import reply
from tests.faults.lab import Lab
from tests.faults.moments import STAGING, Moment, at_step, in_stage, meet
from tests.faults.scenarios.kills import wait_for_a_step
from tests.faults.scenarios.registry import Scenario

HONOURED_SECONDS = 5.0


def asked(lab: Lab, run: Run, name: CommandName, moment: Moment) -> float:
    """Ask it at the moment; the worker is gone within seconds. Returns when it was asked."""
    worker = run.worker()
    meet(run, moment)
    since = lab.injected(f"{name}, {moment.name}")
    request = run.ask(name)
    wait_until(
        lambda: not psutil.pid_exists(worker.pid) or worker.status() == psutil.STATUS_ZOMBIE,
        f"{name} {moment.name}: the worker is gone",
        HONOURED_SECONDS,
    )
    run.wait_for(lambda run: reply(run, request) is not None, f"{name} is answered", HONOURED_SECONDS)
    answer = reply(run, request)
    if answer is None or answer.outcome != "done":
        raise Broken(f"{name} {moment.name} was turned down: {answer}")
    return since


def stopped(lab: Lab, run: Run, moment: Moment) -> None:
    since = asked(lab, run, "stop", moment)
    if code := run.end(HONOURED_SECONDS):
        raise Broken(f"a stop {moment.name} ended with {code}")
    lab.check_fault(run)
    run.recover()
    wait_for_a_step(lab, run, since)


def parked(lab: Lab, run: Run, moment: Moment) -> None:
    since = asked(lab, run, "park", moment)
    run.wait_for(lambda run: run.stage == "parked", "the run says that it is parked")
    if left := [process.pid for process in run.processes() if is_worker(process)]:
        raise Broken(f"parked, and there is a worker: {left}")
    run.ask("resume")
    wait_for_a_step(lab, run, since)


def steered(name: CommandName, moment: Moment, evaluated: bool, lab: Lab) -> None:
    run = lab.run(lab.evaluated()) if evaluated else lab.run()
    run.start()
    {"stop": stopped, "park": parked}[name](lab, run, moment)
    lab.complete(run, redone=0)


def park_twice_and_stop(lab: Lab) -> None:
    """In one run: let go while it loads and while it saves, then ended at a step."""
    run = lab.run()
    run.start()
    parked(lab, run, in_stage("loading_model"))
    meet(run, at_step(9))
    parked(lab, run, STAGING)
    meet(run, at_step(run.step + 3))
    stopped(lab, run, at_step(run.step + 1))
    lab.complete(run, redone=0)


_LOADING, _EVALUATING = in_stage("loading_model"), in_stage("evaluating")
_PREPARING = in_stage("preparing_data")

SCENARIOS = (
    Scenario("stop-loading", functools.partial(steered, "stop", _LOADING, False)),
    Scenario("stop-caching", functools.partial(steered, "stop", _PREPARING, False)),
    Scenario("stop-evaluating", functools.partial(steered, "stop", _EVALUATING, True)),
    Scenario("stop-saving", functools.partial(steered, "stop", STAGING, False)),
    Scenario("park-evaluating", functools.partial(steered, "park", _EVALUATING, True)),
    Scenario("park-caching", functools.partial(steered, "park", _PREPARING, False)),
    Scenario("park-and-stop", park_twice_and_stop),
)
