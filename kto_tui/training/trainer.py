"""TRL's KTO trainer, made to report, to listen, and to write whole checkpoints."""

import functools
import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError
from trl import KTOTrainer

from kto_tui.core.errors import one_line
from kto_tui.core.events import Evaluated, Metrics, SaveReason, StageChanged, StepLogged
from kto_tui.training.checkpoints import WriteFailed
from kto_tui.training.memory import memory_in_use_bytes
from kto_tui.training.resumed import finite
from kto_tui.training.sitting import Sitting

ACCUMULATORS_NAME = "accumulators.json"

# Methods of TRL's and transformers' trainers that are overridden, though nobody promises that they stay.
LEANED_ON = (
    *("_prepare_dataset", "_save_checkpoint", "_get_output_dir", "_load_from_checkpoint"),
    *("_load_optimizer_and_scheduler", "_send_telemetry", "create_model_card"),
)


class EvaluationCut(Exception):
    """Leaves an evaluation that the user does not want to wait for."""


class SteeredTrainer(KTOTrainer):  # type: ignore[misc]
    """KTOTrainer for one sitting, on rows that are tokenized already.

    Leans on names of transformers 5.23 and TRL 1.16 beside their documented hooks: the methods in
    LEANED_ON, and for `accumulators.json` `_metrics`, `_total_train_tokens`, `_tr_loss` and
    `_globalstep_last_logged`. The model's `save_pretrained` is replaced. Elsewhere, `model.py` sets
    `config._name_or_path`, by which PEFT names the base, and `dataset.py` takes `common_prefix_length`
    from `trl.data_utils`.
    """

    _tr_loss: torch.Tensor

    def __init__(self, sitting: Sitting, **kwargs: Any) -> None:
        self._sitting = sitting
        self._staging: Path | None = None
        self.save_reason: SaveReason = "scheduled"
        self.save_error: str | None = None
        self.latest: Metrics = {}
        super().__init__(**kwargs)
        float32_adapters(self.model)
        # Without this PEFT asks the hub about the base's vocabulary at every save.
        self.model.save_pretrained = functools.partial(
            self.model.save_pretrained, save_embedding_layers=False
        )

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """Nothing: the rows come as they are to be."""
        return dataset

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The micro-batches of one optimizer step: here the step begins, as to speed."""
        self._sitting.speedometer.begin_step()
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        for batch in batches:
            self._sitting.speedometer.count(len(batch["label"]), int(batch["attention_mask"].sum()))
        return batches, items

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add speed and memory to a step's metrics, so that every tracker gets them, and report the step."""
        is_step = "loss" in logs
        if is_step:
            logs |= self._sitting.speedometer.take_window()
            logs["gpu_memory_bytes"] = memory_in_use_bytes()
        super().log(logs, start_time)
        if is_step:
            self.latest = finite({key: value for key, value in logs.items() if key != "epoch"})
            self._report_step()

    def _report_step(self) -> None:
        state = self.state
        steps_left = state.max_steps - state.global_step
        self._sitting.emitter.emit(
            StepLogged(
                step=state.global_step,
                total_steps=state.max_steps,
                epoch=state.epoch or 0.0,
                metrics=self.latest,
                eta_seconds=self._sitting.speedometer.eta_seconds(steps_left),
            )
        )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """TRL's evaluation, reported. Cut short (and then without metrics) when the run is to end."""
        emitter = self._sitting.emitter
        emitter.emit(StageChanged(stage="evaluating"))
        try:
            metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        except EvaluationCut:
            self._metrics["eval"].clear()
            self.control.should_evaluate = False
            metrics = {}
        else:
            plain = {key.removeprefix("eval_"): value for key, value in metrics.items() if key != "epoch"}
            emitter.emit(Evaluated(step=self.state.global_step, metrics=finite(plain)))
        emitter.emit(StageChanged(stage="training"))
        return metrics

    def _get_output_dir(self, trial: Any) -> str:
        """Where transformers puts `checkpoint-N`: the staging folder while one is written."""
        return str(self._staging) if self._staging else str(super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """One checkpoint for `save_reason`. A failed one leaves `save_error`, and training goes on."""
        step, store = self.state.global_step, self._sitting.store
        self._sitting.emitter.emit(StageChanged(stage="saving"))
        try:
            store.save(step, self.save_reason, lambda: self._write_checkpoint(model, trial))
            self.save_error = None
        except WriteFailed as error:
            self.save_error = str(error)

    def _write_checkpoint(self, model: Any, trial: Any) -> None:
        self._staging = self._sitting.store.staging
        try:
            super()._save_checkpoint(model, trial)
            folder = self._staging / f"checkpoint-{self.state.global_step}"
            (folder / ACCUMULATORS_NAME).write_text(json.dumps(self._accumulators()), encoding="utf-8")
        except (RuntimeError, SafetensorError) as error:
            if is_disk_failure(error):
                raise OSError(one_line(error)) from error
            raise
        finally:
            self._staging = None

    def _accumulators(self) -> dict[str, Any]:
        """What is summed up since the last log, so that a resumed run logs what an unbroken one would."""
        return {
            "loss": float(self._tr_loss),
            "last_logged_step": self._globalstep_last_logged,
            "metrics": self._metrics["train"],
            "num_tokens": self._total_train_tokens,
        }

    def restore_accumulators(self, checkpoint: Path) -> None:
        """Take up the sums of a checkpoint; one of another program may have none."""
        path = checkpoint / ACCUMULATORS_NAME
        if not path.is_file():
            return
        saved = json.loads(path.read_text(encoding="utf-8"))
        self._tr_loss = torch.tensor(saved["loss"], device=self._tr_loss.device)
        self._globalstep_last_logged = saved["last_logged_step"]
        self._total_train_tokens = saved["num_tokens"]
        self._metrics["train"].update(saved["metrics"])

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        float32_adapters(self.model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Go on at the learning rate of the settings as they are now, not as they were at the checkpoint.

        transformers takes over the rate that was computed for the next step of the old schedule: 0 at its
        end, so that the first of some added steps would train nothing.
        """
        peaks = list(self.lr_scheduler.base_lrs)
        super()._load_optimizer_and_scheduler(checkpoint)
        schedule = self.lr_scheduler
        schedule.base_lrs = peaks
        factors = [factor(schedule.last_epoch) for factor in schedule.lr_lambdas]
        rates = [peak * factor for peak, factor in zip(peaks, factors, strict=True)]
        for group, peak, rate in zip(self.optimizer.param_groups, peaks, rates, strict=True):
            group["initial_lr"], group["lr"] = peak, rate
        schedule._last_lr = rates

    def load_adapter_of(self, checkpoint: Path) -> None:
        """Take the adapter of a checkpoint without training."""
        self._load_from_checkpoint(str(checkpoint))

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run writes a card of its own into final_model."""

    def _send_telemetry(self) -> None:
        """Nothing is sent anywhere."""


def float32_adapters(model: torch.nn.Module) -> None:
    """Keep what is trained in float32: in bfloat16, small steps round to nothing. TRL casts under 4 bit."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def is_disk_failure(error: BaseException) -> bool:
    """Whether torch's or safetensors' own exception stands for a failed write."""
    text = str(error)
    return isinstance(error, SafetensorError) or "PytorchStreamWriter" in text or "unexpected pos" in text
