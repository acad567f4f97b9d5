"""One sitting of a run, from the settings to the end, in the order in which things happen.

Light to import: torch and its libraries come in once the first event is out.
"""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext

import msgspec

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import WRONG_REQUEST, UserError, one_line
from kto_tui.core.events import RunEnded, StageChanged
from kto_tui.training.alone import alone
from kto_tui.training.emitter import Emitter, EventQueue
from kto_tui.training.environment import prepare_environment
from kto_tui.training.orphan import Watch
from kto_tui.training.sitting import Sitting, open_sitting
from kto_tui.training.steering import CommandQueue, Ending, SittingEnded, Steering

logger = logging.getLogger(__name__)

_DEVICE_WORDS = ("CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS", "NCCL", "NVML")


def run(
    config: RunConfig,
    events: EventQueue,
    commands: CommandQueue,
    supervisor_alive: Callable[[], bool],
    give_up: Callable[[int], object] | None = None,
) -> int:
    """Train, and report everything on `events`. Returns the exit code: 0, 1 failed, 2 wrong request.

    `give_up` ends the process from any thread, for when the supervisor is gone and nothing is to be saved.

    No exception comes out; what failed is in RunEnded, and its traceback is logged.
    """
    began = time.monotonic()
    emitter = Emitter(events)
    sitting = open_sitting(config, emitter, Steering(commands, emitter, supervisor_alive))
    watch = Watch(supervisor_alive, lambda: sitting.has_trained, give_up) if give_up else nullcontext()
    with watch:
        ended = _train_and_judge(sitting)
        _say_how_it_ended(sitting, ended, time.monotonic() - began)
        emitter.close(reader_alive=supervisor_alive())
    return ended.exit_code if ended else 0


def _say_how_it_ended(sitting: Sitting, ended: RunEnded | None, seconds: float) -> None:
    last = sitting.store.last
    sitting.steering.close(last.name if last else None, sitting.store.pin_last)
    if ended is not None:
        sitting.emitter.emit(msgspec.structs.replace(ended, step=sitting.step, seconds=seconds))


def _train_and_judge(sitting: Sitting) -> RunEnded | None:
    """How the sitting ended; None when it did not end the run (parked, or its supervisor is gone)."""
    try:
        ending = _train(sitting)
    except SittingEnded as end:
        ending = end.ending
    except UserError as error:
        logger.error("%s", error, exc_info=error.__cause__)
        return _failed(sitting, str(error), WRONG_REQUEST)
    except Exception as error:
        logger.exception("the run failed")
        return _failed(sitting, one_line(error), 1, transient=is_transient(error))
    if ending == "abandoned":
        logger.error(_abandoned(sitting))
    if ending == "abandoned" or ending == "parked":
        return None
    return RunEnded(status=ending or "completed", step=sitting.step, seconds=0.0)


def _failed(sitting: Sitting, error: str, exit_code: int, *, transient: bool = False) -> RunEnded:
    return RunEnded(
        status="failed",
        step=sitting.step,
        seconds=0.0,
        error=error,
        exit_code=exit_code,
        transient=transient,
    )


def is_transient(error: BaseException) -> bool:
    """Whether the same may well go through another time: disks, networks and devices have bad moments.

    An error of the request, of the data, of the numbers, or of memory that is too small comes again.
    """
    if isinstance(error, (OSError, EOFError)):
        return True
    # RuntimeError is what torch raises for a device's own errors, beside its class since 2.8.
    device = type(error).__name__ == "AcceleratorError"
    return device or (isinstance(error, RuntimeError) and any(word in str(error) for word in _DEVICE_WORDS))


def _abandoned(sitting: Sitting) -> str:
    saved = sitting.store.last
    kept = f"saved {saved.name}" if saved else "no step was taken, so nothing was saved"
    return f"the supervisor is gone; {kept}. Go on with --resume-from-checkpoint latest."


def _train(sitting: Sitting) -> Ending | None:
    """The work of the sitting. Returns how a request ended it, or None when training is complete."""
    sitting.emitter.emit(StageChanged(stage="loading_model"))
    sitting.progress("loading_model")(0, 0, "starting PyTorch")
    prepare_environment()
    with alone(sitting.directory.worker_lock, sitting.steering.end_before_first_step):
        sitting.store.clean()

        from kto_tui.training.work import Work

        return Work(sitting).carry_out()
