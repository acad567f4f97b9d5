"""A run that never trained: writes a lifelike journal, at once or while it is being watched.

python -m tests.ui.fake_run DIR [--seconds-per-step S] [--steps N] [--end completed|stopped|failed|none]
"""

import argparse
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import (
    AlertRaised,
    AnyEvent,
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointSaved,
    CommandDone,
    DataReady,
    Device,
    Evaluated,
    GpuSampled,
    ModelLoaded,
    Progress,
    ReferenceCacheReady,
    RunEnded,
    RunStarted,
    StageChanged,
    StepLogged,
)
from kto_tui.run.journal import JournalWriter

GIB = 1 << 30
START = 1_780_000_000.0


def gpu(used: float = 21.4, index: int = 0) -> Device:
    return Device(
        index=index,
        name="NVIDIA GeForce RTX 3090",
        memory_used_bytes=int(used * GIB),
        memory_total_bytes=24 * GIB,
        utilization=97.0,
        temperature_c=71.0,
        power_w=341.0,
    )


def host() -> Device:
    return Device(
        index=0,
        name="host",
        kind="host",
        memory_used_bytes=int(1.2 * GIB),
        memory_total_bytes=int(62.7 * GIB),
    )


def opening(at: float = START) -> list[AnyEvent]:
    """From the start to the first step of training."""
    return [
        RunStarted(
            time=at,
            run_id="fake",
            versions={"kto-tui": "0.1.0"},
            host="box",
            devices=("NVIDIA GeForce RTX 3090",),
        ),
        StageChanged(time=at + 1, stage="loading_model"),
        *(
            Progress(
                time=at + 1 + part,
                stage="loading_model",
                done=part,
                total=3,
                detail=f"model-0000{part}.safetensors",
            )
            for part in range(1, 4)
        ),
        ModelLoaded(
            time=at + 5,
            name="mistralai/Mistral-7B-Instruct-v0.3",
            parameters=7_248_023_552,
            trainable_parameters=167_772_160,
            quantization="nf4",
            dtype="bfloat16",
            device="cuda:0",
        ),
        StageChanged(time=at + 6, stage="preparing_data"),
        Progress(time=at + 7, stage="preparing_data", done=5000, total=10_000, detail="tokenizing"),
        DataReady(
            time=at + 9,
            desirable=5210,
            undesirable=4790,
            examples=10_000,
            dropped=12,
            truncated=3,
            weights=(1.0, 1.09),
        ),
        ReferenceCacheReady(
            time=at + 9,
            path="/home/me/.cache/kto-tui",
            blocks=1250,
            known=12,
            bytes=1_230_000,
            limit_bytes=2_000_000_000,
        ),
        StageChanged(time=at + 10, stage="training"),
    ]


def logged(step: int, total: int, at: float, seed: int = 1) -> StepLogged:
    """A row of a run that learns, with some noise."""
    chance = random.Random(seed * 100_003 + step)
    way = 1 - math.exp(-3 * step / total)
    chosen = 0.9 * way + chance.gauss(0, 0.04)
    rejected = -0.6 * way + chance.gauss(0, 0.04)
    return StepLogged(
        time=at,
        step=step,
        total_steps=total,
        epoch=step / total,
        metrics={
            "loss": 0.5 - 0.25 * way + chance.gauss(0, 0.008),
            "learning_rate": 5e-7 * min(1.0, 10 * step / total) * (1 - 0.9 * step / total),
            "grad_norm": 1.1,
            "kl": max(0.0, 2.1 * way + chance.gauss(0, 0.2)),
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "rewards/auc": 0.5 + 0.4 * way,
            "samples_per_second": 1.31 + chance.gauss(0, 0.02),
            "gpu_memory_bytes": 21.4 * GIB,
        },
        eta_seconds=(total - step) * 24.4,
    )


def evaluated(step: int, loss: float, at: float, auc: float | None = 0.871) -> Evaluated:
    """The figures of an evaluation."""
    rewards = {"rewards/chosen": 0.612, "rewards/rejected": -0.3, "rewards/margins": 0.912}
    return Evaluated(time=at, step=step, metrics={"loss": loss, **rewards, "rewards/auc": auc, "kl": 1.234})


def saved(step: int, directory: Path, at: float, reason: str = "scheduled") -> CheckpointSaved:
    return CheckpointSaved(
        time=at,
        step=step,
        path=str(directory / f"checkpoint-{step}"),
        bytes=1_340_000_000,
        seconds=2.1,
        reason=reason,  # type: ignore[arg-type]
    )


def training(
    directory: Path, total: int = 500, until: int | None = None, pace: float = 24.4
) -> Iterator[AnyEvent]:
    """Steps, checkpoints and readings up to step `until`."""
    for step in range(5, (until or total) + 1, 5):
        at = START + 10 + step * pace
        yield GpuSampled(time=at, devices=(gpu(),))
        yield logged(step, total, at)
        if step % 50 == 0:
            yield saved(step, directory, at + 2)
            if step >= 200:
                yield CheckpointDeleted(
                    time=at + 2, step=step - 150, path=str(directory / f"checkpoint-{step - 150}")
                )
        if step == 120:
            yield AlertRaised(
                time=at,
                kind="margin_falling",
                severity="warning",
                message="the margin has fallen for 20 steps",
                advice="A lower learning rate may help.",
                step=step,
            )


def write_events(directory: Path, events: Iterator[AnyEvent] | list[AnyEvent]) -> RunDirectory:
    """A journal with these events."""
    directory.mkdir(parents=True, exist_ok=True)
    run = RunDirectory(directory)
    writer = JournalWriter(run.events)
    for event in events:
        writer.append(event)
    writer.close()
    return run


def ended(status: str, step: int, at: float, error: str | None = None) -> RunEnded:
    return RunEnded(
        time=at,
        status=status,  # type: ignore[arg-type]
        step=step,
        seconds=at - START,
        error=error,
        exit_code=1 if error else 0,
    )


def failed_checkpoint(step: int, directory: Path, at: float) -> CheckpointFailed:
    return CheckpointFailed(
        time=at,
        step=step,
        path=str(directory / f"checkpoint-{step}"),
        error="OSError: No space left on device",
    )


def answer(id: str, command: str, at: float, outcome: str = "done", detail: str = "") -> CommandDone:
    return CommandDone(time=at, id=id, command=command, outcome=outcome, detail=detail)  # type: ignore[arg-type]


def run_live(directory: Path, total: int, seconds_per_step: float, end: str) -> None:
    """Append a run's events as they would come."""
    directory.mkdir(parents=True, exist_ok=True)
    writer = JournalWriter(RunDirectory(directory).events)
    began = time.time()
    for event in opening(began):
        time.sleep(max(0.0, event.time - time.time()))
        writer.append(event)
    for step in range(1, total + 1):
        time.sleep(seconds_per_step)
        writer.append(GpuSampled(devices=(gpu(),)))
        if step % 5 == 0:
            writer.append(logged(step, total, time.time()))
        if step % 50 == 0:
            writer.append(saved(step, directory, time.time()))
            writer.append(evaluated(step, 0.5 - 0.2 * step / total, time.time()))
    if end != "none":
        error = "RuntimeError: CUDA out of memory" if end == "failed" else None
        now = time.time()
        writer.append(RunEnded(status=end, step=total, seconds=now - began, error=error))  # type: ignore[arg-type]
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seconds-per-step", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--end", default="completed", choices=["completed", "stopped", "failed", "none"])
    options = parser.parse_args()
    run_live(options.directory, options.steps, options.seconds_per_step, options.end)
