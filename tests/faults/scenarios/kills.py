"""SIGKILL of the worker, of the supervisor, and of both, at chosen moments and at random ones."""

import functools
import signal

from kto_tui.core.events import RunEnded, RunStarted, StepLogged
from kto_tui.core.manifest import newest_whole
from tests.faults.harness import Broken, Run, Settings, plain
from tests.faults.invariants import listed
from tests.faults.lab import PLAIN, Lab
from tests.faults.moments import (
    FINAL,
    MANIFEST,
    RENAMED,
    ROTATING,
    STAGING,
    TENSORS,
    TRAINING,
    Moment,
    appending,
    at_step,
    in_stage,
    meet,
)
from tests.faults.scenarios.registry import Scenario

# The worker notices within 5 s, and saves; a start of torch on a busy core is a part of that.
NOTICED_SECONDS = 5.0
SAVED_SECONDS = 5.0
LOADING = in_stage("loading_model")


def any_settings(lab: Lab) -> Settings:
    """What a resume has to get right differs: accumulation, no cache, evaluations."""
    accumulated = Settings(("--gradient-accumulation-steps", "2"))
    uncached = Settings(("--reference-cache", "off"))
    return lab.random.choice([PLAIN, accumulated, uncached, lab.evaluated()])


def any_moment(lab: Lab, run: Run) -> Moment:
    """One that comes soon, wherever a run before its last steps is."""
    late = [RENAMED, ROTATING] if run.step > run.settings.save_steps * run.settings.save_total_limit else []
    steps = at_step(run.step + lab.random.randint(1, run.settings.save_steps))
    return lab.random.choice([STAGING, TENSORS, MANIFEST, steps, appending(run), *late])


def advance(lab: Lab, run: Run, part: int, parts: int) -> None:
    """Let the run come into the given one of so many equal parts of its steps."""
    width = (run.settings.max_steps - run.settings.save_steps) // parts
    meet(run, at_step(part * width + lab.random.randint(1, width)))


def wait_for_a_step(lab: Lab, run: Run, since: float) -> None:
    """The run goes on: a step of a sitting after the fault, or its end where no step was left."""
    before = len(run.events)
    run.wait_for(
        lambda run: any(isinstance(event, (StepLogged, RunEnded)) for event in run.events[before:]),
        "a step after the fault",
    )
    lab.recovered(since)


# The worker, with --auto-restart


def restarted(lab: Lab, run: Run, moment: Moment) -> None:
    """Kill the worker at the moment, and see that another one goes on."""
    run.worker()
    meet(run, moment)
    sittings = _sittings(run)
    since = lab.injected(f"worker SIGKILL, {_kind(moment)}, --auto-restart")
    killed = run.kill_worker()
    run.wait_for(lambda run: _sittings(run) > sittings, "another run_started after the worker was killed")
    run.wait_for(lambda run: run.worker().pid != killed, "another worker")
    run.wait_for(lambda run: run.stage in ("training", "saving", "evaluating"), "training goes on")
    lab.recovered(since)


def _sittings(run: Run) -> int:
    return sum(isinstance(event, RunStarted) for event in run.events)


def _kind(moment: Moment) -> str:
    return "at a step" if moment.name.startswith("after step") else moment.name


def chosen_worker_kills(lab: Lab) -> None:
    run = lab.run()
    run.start("--auto-restart", "9")
    for step, moment in ((6, STAGING), (12, MANIFEST), (18, RENAMED), (23, ROTATING)):
        meet(run, at_step(step))
        restarted(lab, run, moment)
    lab.complete(run)


def worker_killed_while_loading(lab: Lab) -> None:
    """Before there is a checkpoint: the restart begins at the first step."""
    run = lab.run()
    run.start("--auto-restart", "3")
    restarted(lab, run, LOADING)
    lab.complete(run)


def two_worker_kills(lab: Lab) -> None:
    """The short form of the above."""
    run = lab.run()
    run.start("--auto-restart", "3")
    restarted(lab, run, LOADING)
    meet(run, at_step(11))
    restarted(lab, run, MANIFEST)
    lab.complete(run)


def random_worker_kills(lab: Lab, kills: int = 5) -> None:
    run = lab.run(any_settings(lab))
    run.start("--auto-restart", str(2 * kills))
    for part in range(kills):
        advance(lab, run, part, kills)
        restarted(lab, run, any_moment(lab, run))
    lab.complete(run)


def worker_killed_in_final_model(lab: Lab) -> None:
    run = lab.run()
    run.start("--auto-restart", "3")
    run.worker()
    meet(run, FINAL)
    since = lab.injected(f"worker SIGKILL, {FINAL.name}, --auto-restart")
    run.kill_worker()
    run.end()
    lab.recovered(since)
    lab.complete(run)


# The worker, resumed by hand


def killed_by_hand(lab: Lab, run: Run, moment: Moment, number: signal.Signals = signal.SIGKILL) -> None:
    """Kill the worker at the moment, see that the run says so and how to go on, and go on."""
    run.worker()
    meet(run, moment)
    since = lab.injected(f"worker {number.name}, {_kind(moment)}, resumed by hand")
    run.kill_worker(number)
    code = run.end()
    lab.check_fault(run)
    ended = run.events[-1]
    if not isinstance(ended, RunEnded) or ended.status != "failed" or code != 1:
        raise Broken(f"expected run_ended (failed) and exit code 1; found {ended} and {code}")
    if number.name not in (ended.error or ""):
        raise Broken(f"run_ended does not name {number.name}: {ended.error}")
    if run.directory.checkpoints() and "--resume-from-checkpoint latest" not in plain(run.output):
        raise Broken(f"the end does not say how to go on: {run.output[-600:]}")
    run.recover()
    wait_for_a_step(lab, run, since)


def worker_signalled(number: signal.Signals, moment: Moment, lab: Lab) -> None:
    run = lab.run()
    run.start()
    killed_by_hand(lab, run, moment, number)
    lab.complete(run)


def random_worker_kills_by_hand(lab: Lab, kills: int = 3) -> None:
    run = lab.run(any_settings(lab))
    run.start()
    for part in range(kills):
        advance(lab, run, part, kills)
        killed_by_hand(lab, run, any_moment(lab, run))
    lab.complete(run)


# The supervisor


def orphaned(lab: Lab, run: Run, moment: Moment) -> None:
    """Kill the supervisor at the moment: the worker saves and leaves by itself; then resume."""
    run.worker()
    meet(run, moment)
    since = lab.injected(f"supervisor SIGKILL, {_kind(moment)}")
    run.kill_supervisor()
    run.end()
    gone = run.wait_until_gone(NOTICED_SECONDS + SAVED_SECONDS)
    lab.check_fault(run)
    _check_saved(run, gone)
    if "died" not in (text := listed(run)):
        raise Broken(f"kto-tui runs does not say that the run died: {text}")
    run.recover()
    wait_for_a_step(lab, run, since)


def _check_saved(run: Run, gone: float) -> None:
    """The last step that the journal knew is in a checkpoint: the worker saved before it left."""
    newest, passed_over = newest_whole(run.directory)
    saved = int(newest.name.rpartition("-")[2]) if newest else 0
    if saved < run.step or passed_over:
        raise Broken(f"the worker left after {gone:.1f} s; step {run.step} was logged, step {saved} is saved")


def supervisor_killed(moment: Moment, lab: Lab) -> None:
    run = lab.run()
    run.start()
    orphaned(lab, run, moment)
    lab.complete(run)


def random_supervisor_kills(lab: Lab, kills: int = 2) -> None:
    run = lab.run(any_settings(lab))
    run.start()
    for part in range(kills):
        advance(lab, run, part, kills)
        orphaned(lab, run, any_moment(lab, run))
    lab.complete(run)


# Both at once, as when the machine goes down


def both_killed(lab: Lab, run: Run, moment: Moment) -> None:
    run.worker()
    meet(run, moment)
    since = lab.injected(f"worker and supervisor SIGKILL, {_kind(moment)}")
    run.kill_both(worker_first=lab.random.random() < 0.5)
    lab.check_fault(run)
    run.recover()
    wait_for_a_step(lab, run, since)


def chosen_kills_of_both(lab: Lab) -> None:
    run = lab.run()
    run.start()
    for step, moment in ((6, TENSORS), (12, MANIFEST), (18, RENAMED), (26, ROTATING)):
        meet(run, at_step(step))
        both_killed(lab, run, moment)
    lab.complete(run)


def random_kills_of_both(lab: Lab, kills: int = 3) -> None:
    run = lab.run(any_settings(lab))
    run.start()
    for part in range(kills):
        advance(lab, run, part, kills)
        both_killed(lab, run, any_moment(lab, run))
    lab.complete(run)


def kills_during_resume(lab: Lab, kills: int = 3) -> None:
    """While a resume loads, as it begins to train, and at a random moment in between."""
    run = lab.run()
    run.start()
    meet(run, at_step(11))
    run.kill_both()
    for moment in (LOADING, TRAINING, lab.random.choice([LOADING, in_stage("preparing_data"), TRAINING])):
        run.recover()
        run.worker()
        meet(run, moment)
        lab.injected(f"worker and supervisor SIGKILL, resuming, {moment.name}")
        run.kill_both(worker_first=lab.random.random() < 0.5)
        lab.check_fault(run)
    run.recover()
    lab.complete(run)


_EVALUATING = in_stage("evaluating")


def killed_while_evaluating(lab: Lab) -> None:
    run = lab.run(lab.evaluated())
    run.start()
    killed_by_hand(lab, run, _EVALUATING)
    meet(run, at_step(run.step + 6))
    both_killed(lab, run, _EVALUATING)
    lab.complete(run)


SCENARIOS = (
    Scenario("worker-kills-short", two_worker_kills, kills=2, short=True),
    Scenario("worker-kills", chosen_worker_kills, kills=4),
    Scenario("worker-kill-loading", worker_killed_while_loading, kills=1),
    Scenario("worker-kill-final-model", worker_killed_in_final_model, kills=1),
    Scenario("worker-kill-by-hand", functools.partial(worker_signalled, signal.SIGKILL, STAGING), kills=1),
    Scenario("worker-segv", functools.partial(worker_signalled, signal.SIGSEGV, at_step(8))),
    Scenario("worker-abort", functools.partial(worker_signalled, signal.SIGABRT, STAGING)),
    Scenario("supervisor-kill", functools.partial(supervisor_killed, at_step(13)), kills=1, short=True),
    # Late enough that what the worker saves before it leaves has an older one rotated away.
    Scenario("supervisor-kill-late", functools.partial(supervisor_killed, at_step(22)), kills=1),
    Scenario("supervisor-kill-loading", functools.partial(supervisor_killed, LOADING), kills=1),
    Scenario("supervisor-kill-saving", functools.partial(supervisor_killed, STAGING), kills=1),
    Scenario("both-killed", chosen_kills_of_both, kills=4),
    Scenario("killed-evaluating", killed_while_evaluating, kills=2),
    Scenario("resume-killed", kills_during_resume, kills=3),
    Scenario("random-worker-kills", random_worker_kills, kills=5, repeat=True),
    Scenario("random-worker-kills-by-hand", random_worker_kills_by_hand, kills=3, repeat=True),
    Scenario("random-supervisor-kills", random_supervisor_kills, kills=2, repeat=True),
    Scenario("random-both-killed", random_kills_of_both, kills=3, repeat=True),
    Scenario("random-resume-killed", kills_during_resume, kills=3, repeat=True),
)
