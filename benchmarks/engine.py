"""Our own training through its front door, as the supervisor's worker calls it."""

import queue
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.child import serve
from benchmarks.sides import LORA_ALPHA, LORA_RANK, Trained, Training, concluded, limit_memory
from benchmarks.steps import KeptEvents
from kto_tui.core.events import DataReady, Event, RunEnded, StageChanged, StepLogged
from kto_tui.core.resolve import resolve

_NEVER = 10**9


def train(order: Training) -> Trained:
    """Train; the adapter is in the run's `final_model`. Raises RuntimeError where the run failed."""
    limit_memory(order)

    from kto_tui.training.session import run

    Path(order.output).mkdir(parents=True, exist_ok=True)
    kept = KeptEvents()
    code = run(resolve(_options(order)), kept, queue.Queue(), lambda: True)
    events = list(kept.queue)
    if code:
        raise RuntimeError(next(event.error for event in events if isinstance(event, RunEnded)))
    data = next(event for event in events if isinstance(event, DataReady))
    assert data.examples == order.rows, f"{data.examples} rows were kept"
    steps = [event for event in events if isinstance(event, StepLogged)]
    return concluded(order, steps=steps[-1].step, step_seconds=steps[-1].time - training_began(events))


def training_began(events: Sequence[Event]) -> float:
    """When training began, or what is computed for it on the reference, had that a stage of its own."""
    stages = ("caching_reference", "training")
    return next(e.time for e in events if isinstance(e, StageChanged) and e.stage in stages)


def _options(order: Training) -> dict[str, Any]:
    """The settings: what is said to TRL too, TRL's schedule, and else this program's defaults."""
    return {
        "model": order.model,
        "dataset": order.dataset,
        "output_dir": order.output,
        "max_length": order.max_length,
        "batch_size": order.batch_size,
        "gradient_accumulation_steps": order.accumulation,
        **({"max_steps": order.steps} if order.steps else {}),
        "num_epochs": order.epochs,
        "learning_rate": order.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_ratio": 0.0,
        "lora_rank": LORA_RANK,
        "lora_alpha": LORA_ALPHA,
        "dtype": order.dtype,
        "quantization": order.quantization,
        "seed": order.seed,
        "reference_cache": order.reference_cache,
        "logging_steps": 1,
        "save_steps": _NEVER,
    }


if __name__ == "__main__":
    serve(train, Training)
