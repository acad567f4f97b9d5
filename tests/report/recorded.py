"""The events of a run in two sittings, as a journal holds them."""

from kto_tui.core.config import RunConfig
from kto_tui.core.events import (
    AlertRaised,
    AnyEvent,
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointSaved,
    CommandDone,
    DataReady,
    Evaluated,
    ModelLoaded,
    ReferenceCacheReady,
    RunEnded,
    RunStarted,
    StageChanged,
    StepLogged,
)

RUN = "./kto_output_rtx3090"
CONFIG = RunConfig(
    model="mistralai/Mistral-7B-Instruct-v0.3",
    dataset="train.jsonl",
    output_dir=RUN,
    batch_size=8,
    gradient_accumulation_steps=4,
)
GIB = 1 << 30


def started(time: float, resumed_from: str | None = None) -> RunStarted:
    return RunStarted(
        time=time, run_id="r", versions={}, host="rig", devices=("RTX 3090",), resumed_from=resumed_from
    )


def loading(time: float) -> list[AnyEvent]:
    return [
        StageChanged(time=time, stage="loading_model"),
        ModelLoaded(
            time=time + 20,
            name="mistralai/Mistral-7B-Instruct-v0.3",
            parameters=7_248_023_552,
            trainable_parameters=167_772_160,
            quantization="nf4",
            dtype="bfloat16",
            device="cuda:0",
            source="hub cache",
        ),
        StageChanged(time=time + 20, stage="preparing_data"),
        DataReady(
            time=time + 25,
            desirable=9000,
            undesirable=6900,
            examples=15_900,
            dropped=0,
            truncated=3,
            weights=(1.0, 1.304),
            prompt_tokens={"p5": 41, "p50": 80, "p95": 205},
            completion_tokens={"p5": 18, "p50": 210, "p95": 676},
        ),
        ReferenceCacheReady(
            time=time + 25,
            path="~/.cache/kto-tui",
            blocks=1988,
            known=12 if time else 0,
            bytes=1_230_000,
            limit_bytes=2_000_000_000,
        ),
        StageChanged(time=time + 25, stage="caching_reference"),
    ]


def logged(time: float, step: int, loss: float | None, chosen: float, rejected: float) -> StepLogged:
    return StepLogged(
        time=time,
        step=step,
        total_steps=500,
        epoch=step / 497,
        metrics={
            "loss": loss,
            "learning_rate": 1e-8 * step,
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "gpu_memory_bytes": 21.4 * GIB,
            "samples_per_second": 1.3,
        },
        eta_seconds=(500 - step) * 24.5,
    )


def saved(time: float, step: int, **other: object) -> CheckpointSaved:
    known = {
        "path": f"{RUN}/checkpoint-{step}",
        "bytes": 1_300_000_000,
        "seconds": 2.1,
        "reason": "scheduled",
    }
    return CheckpointSaved(time=time, step=step, **(known | other))  # type: ignore[arg-type]


def first_sitting() -> list[AnyEvent]:
    """Starts, is paused at step 50 for ten minutes, and is stopped at step 55."""
    return [
        started(0),
        *loading(0),
        AlertRaised(time=30, kind="kl", severity="warning", message="few rows", advice="Add some."),
        StageChanged(time=100, stage="training"),
        logged(220, 45, 0.4621, 0.541, -0.274),
        logged(240, 50, 0.4511, 0.612, -0.301),
        StageChanged(time=240, stage="saving"),
        saved(242.1, 50),
        StageChanged(time=242.1, stage="paused"),
        CommandDone(time=242.1, id="1", command="pause", outcome="done"),
        CommandDone(time=250, id="2", command="pause", outcome="rejected", detail="it is paused already"),
        StageChanged(time=842.1, stage="training"),
        logged(860, 55, None, -12345.6, 0.0),
        AlertRaised(
            time=860,
            kind="not_finite",
            severity="error",
            message="the loss is not finite",
            advice="Lower --learning-rate, or raise --beta; the checkpoint of step 50 is from before it. "
            "Other things that help are described in the guide.",
            step=55,
        ),
        saved(862, 55, reason="stopped"),
        CheckpointDeleted(time=863, step=50, path=f"{RUN}/checkpoint-50"),
        CheckpointFailed(
            time=864, step=45, path=f"{RUN}/checkpoint-45", error="OSError: [Errno 28] No space"
        ),
        RunEnded(time=870, status="stopped", step=55, seconds=870),
    ]


def second_sitting() -> list[AnyEvent]:
    """Goes on from step 55 to the end."""
    return [
        started(1000, f"{RUN}/checkpoint-55"),
        *loading(1000),
        StageChanged(time=1100, stage="training"),
        logged(1200, 60, 0.43, 0.7, -0.4),
        Evaluated(
            time=1210,
            step=60,
            metrics={
                "loss": 0.44,
                "rewards/chosen": 0.65,
                "rewards/rejected": -0.4,
                "rewards/margins": 1.05,
                "rewards/auc": 0.9123,
                "kl": 0.2,
                "runtime": 9.5,
                "samples_per_second": 3.4,
            },
        ),
        StageChanged(time=1210, stage="saving"),
        StageChanged(time=1212, stage="parked"),
        StageChanged(time=2212, stage="loading_model"),
        *loading(2212)[1:2],
        StageChanged(time=2300, stage="training"),
        logged(13_000, 500, 0.2, 1.5, -1.5),
        saved(13_003, 500, reason="final"),
        RunEnded(time=13_240, status="completed", step=500, seconds=12_240),
    ]
