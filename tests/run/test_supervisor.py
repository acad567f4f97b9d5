"""The supervisor with a worker process that trains nothing: real queues, signals, files and locks."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kto_tui.core.commands import CommandName, append_command, new_command
from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.core.events import (
    AlertRaised,
    AnyEvent,
    CheckpointSaved,
    CommandDone,
    Event,
    GpuSampled,
    RunEnded,
    StageChanged,
    StepLogged,
)
from kto_tui.insight.state import fold
from kto_tui.run import record
from kto_tui.run.journal import JournalWriter, read_journal
from kto_tui.run.lock import RunLock, is_held
from kto_tui.run.registry import newest_live_run, summarize
from kto_tui.run.supervisor import Supervisor
from kto_tui.run.worker import WorkerEntry
from tests.fakes import worker


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def _signals() -> object:
    """The supervisor sets handlers of the process; put back those of pytest."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def make_run(tmp_path: Path, **settings: object) -> tuple[RunConfig, RunDirectory]:
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    config = RunConfig(output_dir=str(directory.path), **settings)  # type: ignore[arg-type]
    directory.settings.write_text(to_yaml(config))
    return config, directory


def ask(directory: RunDirectory, name: CommandName) -> None:
    append_command(directory.commands, new_command(name))


class Script:
    """Reacts to events as a user would: on the first event that matches, do this."""

    def __init__(self, *steps: tuple[Callable[[Event], bool], Callable[[], None]]) -> None:
        self.steps = list(steps)

    def __call__(self, event: Event) -> None:
        if self.steps and self.steps[0][0](event):
            self.steps.pop(0)[1]()


def live(config: RunConfig, script: Script | None = None, entry: WorkerEntry = worker.main) -> RunEnded:
    return Supervisor(config, entry, [script] if script else []).run()


def at_step(step: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, StepLogged) and event.step >= step


def in_stage(stage: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, StageChanged) and event.stage == stage


def replies(events: list[AnyEvent]) -> list[tuple[str, str]]:
    return [(event.command, event.outcome) for event in events if isinstance(event, CommandDone)]


def test_a_whole_run_is_journaled_in_order(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=20, save_steps=10)
    assert live(config).exit_code == 0
    events = read_journal(directory.events)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    state = fold(events)
    assert state.status(alive=False) == "completed"
    assert state.step == 20
    assert [saved.step for saved in state.checkpoints] == [10, 20]
    assert not is_held(directory.lock)
    assert state.started is not None
    assert state.started.versions["trl"]


def test_pause_holds_the_run_and_resume_goes_on(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=100)
    script = Script(
        (at_step(3), lambda: ask(directory, "pause")), (in_stage("paused"), lambda: ask(directory, "resume"))
    )
    assert live(config, script).status == "completed"
    events = read_journal(directory.events)
    assert replies(events) == [("pause", "done"), ("resume", "done")]
    paused = next(event for event in events if isinstance(event, CheckpointSaved))
    assert paused.reason == "paused"


def test_park_lets_the_worker_go_and_resume_starts_another_from_that_step(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=40)
    workers: list[int] = []
    lives: list[Supervisor] = []

    def note() -> None:
        process = lives[0]._worker
        assert process is not None
        assert process.pid is not None
        workers.append(process.pid)

    def parked() -> None:
        threading.Thread(target=resume_once_gone).start()

    def resume_once_gone() -> None:
        wait_until(lambda: lives[0]._worker is None)
        ask(directory, "checkpoint")
        ask(directory, "resume")

    script = Script(
        (in_stage("training"), note),
        (at_step(3), lambda: ask(directory, "park")),
        (in_stage("parked"), parked),
        (in_stage("training"), note),
    )
    lives.append(Supervisor(config, worker.main, [script]))
    assert lives[0].run().status == "completed"
    assert workers[0] != workers[1]
    events = read_journal(directory.events)
    assert replies(events) == [("park", "done"), ("checkpoint", "rejected"), ("resume", "done")]
    steps = [event.step for event in events if isinstance(event, StepLogged)]
    assert steps == list(range(1, 41))


def test_stop_ends_with_a_checkpoint(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=100_000)
    ended = live(config, Script((at_step(2), lambda: ask(directory, "stop"))))
    assert (ended.status, ended.exit_code) == ("stopped", 0)
    assert len(directory.checkpoints()) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_ends_with_its_code(tmp_path: Path, number: signal.Signals, code: int) -> None:
    config, directory = make_run(tmp_path, max_steps=100_000)
    ended = live(config, Script((at_step(2), lambda: os.kill(os.getpid(), number))))
    assert (ended.status, ended.exit_code) == ("stopped", code)
    assert directory.checkpoints()


def test_ctrl_c_once_more_ends_at_once(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path)

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    script = Script((at_step(1), interrupt), (lambda event: isinstance(event, GpuSampled), interrupt))
    ended = live(config, script, entry=worker.never_listens)
    assert (ended.status, ended.exit_code) == ("stopped", 130)
    assert "at once" in (ended.error or "")
    assert directory.checkpoints() == []


def test_sigterm_twice_does_not_cost_the_work(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=100_000)

    def terminate() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    script = Script((at_step(1), terminate), (at_step(2), terminate), (at_step(3), terminate))
    assert live(config, script).exit_code == 143
    assert directory.checkpoints()


def test_a_killed_worker_is_said_so(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path)
    ended = live(config, entry=worker.dies)
    assert (ended.status, ended.exit_code) == ("failed", 1)
    assert "SIGKILL" in (ended.error or "")
    assert fold(read_journal(directory.events)).stage == "training"


def test_requests_that_the_worker_never_took_are_answered(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path)
    script = Script((in_stage("training"), lambda: ask(directory, "checkpoint")))
    live(config, script, entry=worker.deaf)
    assert replies(read_journal(directory.events)) == [("checkpoint", "rejected")]


def test_a_request_made_while_the_run_is_being_opened_is_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, directory = make_run(tmp_path, max_steps=100_000)

    class SlowToOpen(JournalWriter):
        def __init__(self, path: Path, clock: Callable[[], float] | None = None) -> None:
            ask(directory, "stop")
            super().__init__(path, clock)

    monkeypatch.setattr(record, "JournalWriter", SlowToOpen)
    assert live(config).status == "stopped"


def test_half_a_message_of_a_killed_worker_holds_nothing_up(tmp_path: Path) -> None:
    config, _ = make_run(tmp_path)
    ended = live(config, entry=worker.dies_in_mid_sentence)
    assert ended.status == "failed"
    assert "SIGKILL" in (ended.error or "")


def test_a_home_that_cannot_be_written_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file" / "state"))
    config, _ = make_run(tmp_path, max_steps=3)
    assert live(config).status == "completed"
    assert newest_live_run(tmp_path) is None


def test_signals_to_the_whole_group_leave_the_worker_to_finish(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=100_000)
    runs = Supervisor(config, worker.main, [])
    sent: list[Event] = []

    def everyone(event: Event) -> None:
        if at_step(2)(event) and not sent:
            sent.append(event)
            assert runs._worker is not None
            assert runs._worker.pid is not None
            os.kill(runs._worker.pid, signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    runs._observers = [everyone]
    assert runs.run().exit_code == 143
    assert directory.checkpoints()


def test_old_requests_are_not_carried_out_again(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=10)
    ask(directory, "stop")
    assert live(config).status == "completed"
    assert replies(read_journal(directory.events)) == []


def test_a_second_supervisor_is_refused(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path)
    lock = RunLock(directory.lock)
    lock.acquire()
    with pytest.raises(UserError, match="kto-tui attach"):
        live(config)
    lock.release()
    assert not directory.events.exists()


def test_a_live_run_is_found_from_anywhere(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=100_000)
    found: list[str] = []

    def look() -> None:
        run = newest_live_run(tmp_path / "elsewhere")
        found.append(str(run.path) if run else "none")
        found.append(summarize(directory).status)
        ask(directory, "stop")

    live(config, Script((at_step(2), look)))
    assert found == [str(directory.path), "running"]
    assert newest_live_run(tmp_path) is None
    assert summarize(directory).status == "stopped"


SUPERVISE = """
import sys
from kto_tui.core.resolve import recorded_settings
from kto_tui.core.directory import RunDirectory
from kto_tui.run.supervisor import Supervisor
from tests.fakes.worker import main

if __name__ == "__main__":
    config = recorded_settings(RunDirectory.at(sys.argv[1]))
    sys.exit(Supervisor(config, main).run().exit_code)
"""


def test_a_hang_up_changes_nothing(tmp_path: Path) -> None:
    _, directory = make_run(tmp_path, max_steps=150, eval_steps=10)
    script = tmp_path / "supervise.py"
    script.write_text(SUPERVISE)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(
        [sys.executable, str(script), str(directory.path)], env=environment, start_new_session=True
    )
    wait_until(lambda: fold(read_journal(directory.events)).step >= 2)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(timeout=60) == 0
    assert fold(read_journal(directory.events)).step == 150


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_costs_no_event_and_is_told(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=400, save_steps=1000)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "kto-test", str(directory.path)])
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        directory.settings.write_text(to_yaml(config))
        ballast = directory.path / "ballast"

        def fill() -> None:
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * 512)

        seen: list[Event] = []
        script = Script((at_step(5), fill), (at_step(300), ballast.unlink))
        runs = Supervisor(config, worker.main, [seen.append, script])
        assert runs.run().status == "completed"
        kept = read_journal(directory.events)
    finally:
        subprocess.run(["umount", str(directory.path)], check=True)
    steps = [event.step for event in kept if isinstance(event, StepLogged)]
    assert steps == list(range(1, 401))
    kinds = [event.kind for event in kept if isinstance(event, AlertRaised)]
    assert kinds == ["journal_waits"]


def test_a_file_of_requests_that_others_may_write_is_not_taken_from(tmp_path: Path) -> None:
    config, directory = make_run(tmp_path, max_steps=300)

    def open_and_ask() -> None:
        directory.commands.chmod(0o666)
        ask(directory, "stop")

    ended = live(config, Script((at_step(3), open_and_ask)))
    assert ended.status == "completed"
    alerts = [event for event in read_journal(directory.events) if isinstance(event, AlertRaised)]
    assert [alert.kind for alert in alerts] == ["requests_not_taken"]
