"""The four trackers, each by its callback in transformers; a resumed run goes on in the same run there.

All calls of one come from one thread: MLflow and trackio keep the run that is open by thread.
"""

import contextlib
import copy
import os
import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kto_tui.training.trackers.memory import Remembered


@dataclass(frozen=True)
class Opening:
    """Where a tracker's run is to lie, and which one it goes on with.

    `folder` is the output folder; `step` the last step that the run has kept, 0 for a new one.
    """

    folder: Path
    project: str
    name: str
    step: int
    before: Remembered | None


def _integrations() -> Any:
    """transformers' own: its callbacks are without annotations."""
    from transformers.integrations import integration_utils

    return integration_utils


class Backend(ABC):
    """A tracker. Any method may raise anything, or not return."""

    # Whether steps that come again take the place of those sent before.
    replaces = False
    # Whether it sends later what it was given, so that a process that was killed takes the last of it along.
    buffers = False

    @abstractmethod
    def begin(self, opening: Opening, args: Any, state: Any, model: Any) -> str:
        """Open the run, or the one that was before, and describe it. Returns its id."""

    @abstractmethod
    def log(self, args: Any, state: Any, logs: dict[str, Any]) -> None:
        """Metrics, under the names of transformers' `rewrite_logs`: train/loss, eval/rewards/margins."""

    @abstractmethod
    def finish(self, *, failed: bool) -> None:
        """Send what is left, and close the run."""

    def abandon(self) -> None:  # noqa: B027  Most need nothing.
        """It was given up: from another thread, see that it does not hold the process at its end."""


class Wandb(Backend):
    """Weights & Biases. Steps that were sent cannot be taken back: they come twice where some may be lost."""

    buffers = True

    def begin(self, opening: Opening, args: Any, state: Any, model: Any) -> str:
        import wandb

        os.environ.setdefault("WANDB_DIR", str(opening.folder))
        before = opening.before
        run = wandb.init(
            project=opening.project,
            name=opening.name,
            id=before.id if before else None,
            resume="allow" if before else None,
        )
        if before and run.step < before.rows:
            # Without its server, W&B counts from 0 again; the parts are put together when they are synced.
            wandb.log({"train/global_step": opening.step}, step=before.rows, commit=False)
        self._callback = _integrations().WandbCallback()
        self._callback.setup(args, state, model)
        return str(run.id)

    def log(self, args: Any, state: Any, logs: dict[str, Any]) -> None:
        self._callback.on_log(args, state, None, logs=logs)

    def finish(self, *, failed: bool) -> None:
        import wandb

        wandb.finish(exit_code=int(failed))

    def abandon(self) -> None:
        """W&B's hook at the process's end waits for its helper, for minutes. What came is in its own file."""
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):  # It may be gone by itself.
                if child.name().startswith("wandb"):
                    child.kill()


class TensorBoard(Backend):
    """Event files in a folder. The viewer purges the steps after the checkpoint that a run goes on from."""

    replaces = True

    def begin(self, opening: Opening, args: Any, state: Any, model: Any) -> str:
        from torch.utils.tensorboard import SummaryWriter

        named = os.environ.get("TENSORBOARD_LOGGING_DIR")
        folder = os.path.expanduser(named) if named else str(opening.folder / "tensorboard")
        writer = SummaryWriter(folder, purge_step=opening.step + 1 if opening.step else 0)
        self._callback = _integrations().TensorBoardCallback(tb_writer=writer)
        self._callback.on_train_begin(args, state, None, model=model)
        return opening.name

    def log(self, args: Any, state: Any, logs: dict[str, Any]) -> None:
        self._callback.on_log(args, state, None, logs=logs)

    def finish(self, *, failed: bool) -> None:  # noqa: ARG002
        self._callback.on_train_end(None, None, None)


class MLflow(Backend):
    """MLflow, at MLFLOW_TRACKING_URI or in files of the run's folder.

    transformers sends it names of its own (eval_loss), and in the background, where an error is lost: here it
    gets the names of the others, and is waited for.
    """

    def begin(self, opening: Opening, args: Any, state: Any, model: Any) -> str:
        _mlflow_defaults(opening.folder)
        import mlflow

        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or opening.project)
        run = _run_before(opening)
        self._callback = _integrations().MLflowCallback()
        if run is not None:
            self._callback._initialized = True  # MLflow takes a parameter once.
        else:
            run = mlflow.start_run(run_name=opening.name)
            self._callback.setup(args, state, model)
            mlflow.flush_async_logging()
        self._callback._async_log = False
        return str(run.info.run_id)

    def log(self, args: Any, state: Any, logs: dict[str, Any]) -> None:
        self._callback.on_log(args, state, None, logs=_integrations().rewrite_logs(logs))

    def finish(self, *, failed: bool) -> None:
        import mlflow

        mlflow.end_run("FAILED" if failed else "FINISHED")


def _run_before(opening: Opening) -> Any:
    """The MLflow run to go on with, active again; None where there is none at this server."""
    import mlflow
    from mlflow.exceptions import MlflowException

    if opening.before is None:
        return None
    try:
        return mlflow.start_run(run_id=opening.before.id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _mlflow_defaults(folder: Path) -> None:
    """What is not set yet: files below `folder`, nothing sent to MLflow's makers, and quick to give up."""
    if "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ["MLFLOW_TRACKING_URI"] = (folder / "mlruns").as_uri()
        # The small package has no data base, and asks to be told that files will do.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


class Trackio(Backend):
    """trackio, which knows a run by its name alone: a few digits keep a new one from going on in an old."""

    buffers = True

    def begin(self, opening: Opening, args: Any, state: Any, model: Any) -> str:
        name = opening.before.id if opening.before else f"{opening.name}-{secrets.token_hex(3)}"
        own = copy.copy(args)
        own.project, own.run_name = opening.project, name
        self._callback = _integrations().TrackioCallback()
        self._callback.on_train_begin(own, state, None, model=model)
        self._args = own
        return name

    def log(self, args: Any, state: Any, logs: dict[str, Any]) -> None:  # noqa: ARG002
        self._callback.on_log(self._args, state, None, logs=logs)

    def finish(self, *, failed: bool) -> None:  # noqa: ARG002
        import trackio

        trackio.finish()


BACKENDS: dict[str, type[Backend]] = {
    "wandb": Wandb,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "trackio": Trackio,
}
