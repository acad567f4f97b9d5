"""One play of a scenario: its folder, its chance, what it injected, and the result it is measured by."""

import fcntl
import hashlib
import shutil
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults.harness import Broken, Run, Settings
from tests.faults.invariants import check_after_fault, check_after_recovery, redone_steps
from tests.real_worker.harness import write_rows

ROWS = 100
HELD_OUT_ROWS = 400

PLAIN = Settings()


@dataclass
class Injection:
    """One fault in one run. `seconds`: from the fault to the next step; None where none was waited for."""

    fault: str
    survived: bool = False
    seconds: float | None = None


@dataclass
class Lab:
    """`folder` is this play's own; `shared` holds what plays have in common, for many processes at once."""

    folder: Path
    shared: Path
    seed: int
    injections: list[Injection] = field(default_factory=list)
    redone: int = 0
    runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shared.mkdir(parents=True, exist_ok=True)

    def run(self, settings: Settings = PLAIN, name: str = "run", output: Path | None = None) -> Run:
        """A run that is not started yet."""
        folder = self.folder / name
        folder.mkdir()
        run = Run(folder, settings, self.rows("rows.jsonl", ROWS), output)
        self.runs.append(run)
        return run

    def rows(self, name: str, count: int) -> Path:
        """Rated rows, the same in every play."""
        path = self.shared / name
        with (self.shared / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                write_rows(path, count)
        return path

    def evaluated(self) -> Settings:
        """Settings with evaluations that last a while."""
        held_out = str(self.rows("held_out.jsonl", HELD_OUT_ROWS))
        return Settings(("--eval-dataset", held_out, "--eval-steps", "10"))

    def undisturbed(self, settings: Settings) -> bytes:
        """The final weights of a run that nothing happens to; trained once for each settings."""
        key = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
        kept = self.shared / f"undisturbed-{key}.safetensors"
        with (self.shared / f"lock-{key}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                self._train(settings, kept)
        return kept.read_bytes()

    def _train(self, settings: Settings, kept: Path) -> None:
        folder = kept.with_suffix("")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        run = Run(folder, settings, self.rows("rows.jsonl", ROWS))
        try:
            run.start()
            if code := run.end():
                raise Broken(f"a run that nothing happens to ended with {code}: {run.output[-600:]}")
        finally:
            run.end_all()
        shutil.copy(run.directory.final_model / "adapter_model.safetensors", kept)

    # Counting

    def injected(self, fault: str) -> float:
        """Note a fault; returns when, for `recovered`. Counted as survived when the play has ended well."""
        self.injections.append(Injection(fault))
        return time.monotonic()

    def recovered(self, since: float) -> None:
        """The newest fault is overcome: a step was taken after it."""
        self.injections[-1].seconds = time.monotonic() - since

    def check_fault(self, run: Run, torn_lines: int = 0) -> None:
        check_after_fault(run, torn_lines)

    def complete(
        self, run: Run, *, redone: int | None = None, torn_lines: int = 0, at_least: int | None = None
    ) -> None:
        """The run is let go on to its end, and everything is checked.

        `redone`: the most steps that may have been done again (default: --save-steps); `at_least`: the
        fewest rotating checkpoints at the end (default: --save-total-limit).
        """
        if code := run.end():
            raise Broken(f"the run ended with {code} instead of 0: {run.output[-600:]}")
        run.forget_journal()
        self.redone = max([self.redone, *redone_steps(run.events)])
        most = run.settings.save_steps if redone is None else redone
        check_after_recovery(
            run, self.undisturbed(run.settings), redone=most, torn_lines=torn_lines, at_least=at_least
        )

    def close(self, *, survived: bool) -> None:
        for injection in self.injections:
            injection.survived = survived
        for run in self.runs:
            run.end_all()


def median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None
