"""Checkpoints that are not what was written: passed over by `latest`, refused by name."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

from kto_tui.core.directory import MANIFEST_NAME
from kto_tui.core.events import AlertRaised
from kto_tui.core.manifest import problem_of
from tests.faults.harness import Broken, Run, plain
from tests.faults.lab import Lab
from tests.faults.moments import MANIFEST, Moment, at_step, meet
from tests.faults.scenarios.registry import Scenario

Damage = Callable[[Path], None]


def flip_a_byte(checkpoint: Path) -> None:
    path = checkpoint / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_a_file(checkpoint: Path) -> None:
    path = checkpoint / "optimizer.pt"
    path.write_bytes(path.read_bytes()[:-1000])


def delete_a_file(checkpoint: Path) -> None:
    (checkpoint / "trainer_state.json").unlink()


def empty_the_manifest(checkpoint: Path) -> None:
    """What a machine leaves that lost its power before anything was synced."""
    (checkpoint / MANIFEST_NAME).write_bytes(b"")


def delete_the_manifest(checkpoint: Path) -> None:
    (checkpoint / MANIFEST_NAME).unlink()


def crashed(lab: Lab, step: int, moment: Moment | None = None) -> Run:
    """A run of which everything was killed at this step, or at the first such moment after it."""
    run = lab.run()
    run.start()
    run.worker()
    meet(run, at_step(step))
    if moment is not None:
        meet(run, moment)
    run.kill_both()
    run.wait_until_gone()
    return run


def passed_over(damage: Damage, lab: Lab) -> None:
    """The newest checkpoint is damaged: named and passed over, and the run goes on from the one before."""
    run = crashed(lab, 16, MANIFEST)
    damaged = run.directory.checkpoints()[-1]
    lab.injected(f"damaged checkpoint: {damage.__name__.replace('_', ' ')}")
    damage(damaged)
    problem = problem_of(damaged)
    assert problem is not None
    had_manifest = (damaged / MANIFEST_NAME).exists()  # Without one it is no checkpoint, and is cleared away.
    _check_refused(run, damaged)
    run.resume()
    lab.complete(run, redone=2 * run.settings.save_steps)
    if had_manifest:
        _check_named(run, damaged, problem)


def passed_over_by_a_restart(lab: Lab) -> None:
    """The worker dies, its newest checkpoint is damaged: --auto-restart takes the one before, and says so."""
    run = lab.run()
    run.start("--auto-restart", "2")
    run.worker()
    meet(run, at_step(17))
    lab.injected("worker SIGKILL and damaged checkpoint, --auto-restart")
    run.kill_worker()
    damaged = run.directory.checkpoints()[-1]
    flip_a_byte(damaged)
    problem = problem_of(damaged)
    assert problem is not None
    lab.complete(run, redone=2 * run.settings.save_steps)
    _check_named(run, damaged, problem)


def _check_refused(run: Run, checkpoint: Path) -> None:
    """By name, it is refused in one line that names it."""
    process = run.command("--no-ui", "--resume-from-checkpoint", str(checkpoint))
    code, words = process.wait(60), run.output.strip()
    if code != 2 or "\n" in words or checkpoint.name not in words:
        raise Broken(f"expected a refusal in one line, with exit code 2; found {code}: {words}")


def _check_named(run: Run, checkpoint: Path, problem: str) -> None:
    """Both what was passed over and why are said, on the terminal or as an alert."""
    said = " ".join(f"{event.message} {event.advice} {event.detail}" for event in run.of(AlertRaised))
    text = plain(f"{run.output} {said}")
    if checkpoint.name not in text or plain(problem) not in text:
        raise Broken(f"nothing says that {checkpoint.name} was passed over ({problem}): {text[:800]}")


def all_damaged(lab: Lab) -> None:
    """None is left: refused in one line, and nothing is changed."""
    run = crashed(lab, 12)
    lab.injected("all checkpoints damaged")
    before = {}
    for checkpoint in run.directory.checkpoints():
        flip_a_byte(checkpoint)
        before[checkpoint] = (checkpoint / "adapter_model.safetensors").read_bytes()
    run.resume()
    code, words = run.end(), run.output.strip()
    if code != 2 or "Traceback" in words or not all(path.name in words for path in before):
        raise Broken(f"expected a refusal that names each, with exit code 2; found {code}: {words}")
    if any((path / "adapter_model.safetensors").read_bytes() != data for path, data in before.items()):
        raise Broken("a refused resume changed a checkpoint")


def leftovers(lab: Lab) -> None:
    """Staging folders and half checkpoints of a crash are no obstacle, and are cleared away."""
    run = crashed(lab, 12)
    whole = run.directory.checkpoints()[-1]
    lab.injected("staging and half a checkpoint left behind")
    shutil.copytree(whole, run.directory.staging / "checkpoint-12")
    shutil.copytree(whole, run.directory.checkpoint(12), ignore=shutil.ignore_patterns(MANIFEST_NAME))
    run.resume()
    lab.complete(run)
    if run.directory.checkpoint(12).exists():
        raise Broken("checkpoint-12, which never was whole, is still there")


SCENARIOS = (
    Scenario("damage-flipped", functools.partial(passed_over, flip_a_byte)),
    Scenario("damage-cut", functools.partial(passed_over, cut_a_file)),
    Scenario("damage-deleted", functools.partial(passed_over, delete_a_file)),
    Scenario("damage-empty-manifest", functools.partial(passed_over, empty_the_manifest)),
    Scenario("damage-no-manifest", functools.partial(passed_over, delete_the_manifest)),
    Scenario("damage-restart", passed_over_by_a_restart, kills=1),
    Scenario("damage-all", all_damaged),
    Scenario("leftovers", leftovers),
)
