"""The engine's trainer, made to report, to listen, and to write whole checkpoints."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from kto_tui.core.config import evaluates, to_yaml
from kto_tui.core.directory import SETTINGS_NAME
from kto_tui.core.errors import UserError
from kto_tui.core.events import Evaluated, Metrics, SaveReason, StageChanged, StepLogged
from kto_tui.training.alerts import (
    cache_trouble,
    lost,
    out_of_memory,
    step_skipped,
    stopped_early,
    weights_lost,
)
from kto_tui.training.batches import Block
from kto_tui.training.checkpoints import WriteFailed
from kto_tui.training.early import EarlyStopping
from kto_tui.training.engine import EngineTrainer
from kto_tui.training.loading import ADAPTER
from kto_tui.training.memory import memory_in_use_bytes
from kto_tui.training.moments import check_fit
from kto_tui.training.recovery import Shrunk
from kto_tui.training.resumed import ACCUMULATORS_NAME, accumulators, finite, loading
from kto_tui.training.saved_tensors import check_adapter_fits
from kto_tui.training.sitting import Sitting
from kto_tui.training.skipping import MOST_IN_A_ROW, NotFinite, all_finite, named_rows
from kto_tui.training.space import as_os_error, is_disk_failure

_SMALL_FILES_BYTES = 512 << 10


class EvaluationCut(Exception):
    """Leaves an evaluation that the user does not want to wait for."""


class PatienceOver(Exception):
    """An evaluation that was made up for has used up the patience: there is nothing left to train."""


class StepLeft(Exception):
    """Leaves a step that there is no time to finish."""


class SteeredTrainer(EngineTrainer):
    """An EngineTrainer for one sitting. What it leans on in the libraries stands in `leaned_on.py`.

    `row_name` tells a person which row of the training data has a number.
    """

    def __init__(self, sitting: Sitting, row_name: Callable[[int], str], **kwargs: Any) -> None:
        self._sitting = sitting
        self._row_name = row_name
        self._staging: Path | None = None
        self.save_reason: SaveReason = "scheduled"
        self.save_error: str | None = None
        self.evaluation_due = False
        self.best_home: Path | None = None
        self.latest: Metrics = {}
        patience = sitting.config.early_stopping_patience
        self._cache_problem: str | None = None
        self.early = EarlyStopping(patience) if patience else None
        super().__init__(**kwargs)
        float32_adapters(self.model)
        # Without this PEFT asks the hub about the base's vocabulary at every save.
        self.model.save_pretrained = functools.partial(
            self.model.save_pretrained, save_embedding_layers=False, selected_adapters=[ADAPTER]
        )

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Block], None]:
        """The blocks of one optimizer step: here the step begins, as to speed."""
        self._sitting.speedometer.begin_step()
        blocks, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        for block in blocks:
            self._sitting.speedometer.count(len(block), block.tokens)
        return blocks, items

    def keep_references(self) -> None:
        """Have what was computed of the reference reach the disk; say so once if it cannot."""
        super().keep_references()
        problem = self._reference.problem if self._reference is not None else None
        if problem and problem != self._cache_problem:
            self._sitting.emitter.emit(cache_trouble(problem))
        self._cache_problem = problem

    def between_passes(self) -> None:
        """Leave the step if the supervisor is gone, or wants the run to end before a deadline."""
        self._sitting.steering.poll()
        if self._sitting.steering.leaves_now:
            raise StepLeft

    def save_left_step(self) -> None:
        """After StepLeft: a checkpoint of the last whole step. A failed one leaves `save_error`."""
        self.put_back()
        self.save_reason = self._sitting.steering.reason or "stopped"
        self._save_checkpoint(self.model, None)

    def save_amid_evaluation(self, reason: SaveReason) -> None:
        """A checkpoint now: an evaluation changes nothing that is in it."""
        self.save_reason = reason
        self._save_checkpoint(self.model, None)

    def report_skipped(self, rows: Sequence[int]) -> None:
        """Tell the user which rows a step was skipped for. Raises NotFinite once that happens too often."""
        step, names = self.state.global_step + 1, named_rows(rows, self._row_name)
        self._sitting.emitter.emit(step_skipped(step, names, self.skips.in_a_row))
        if self.skips.in_a_row >= MOST_IN_A_ROW:
            raise NotFinite(lost(step, names, self._sitting.store.newest))

    def report_shrunk(self, shrunk: Shrunk) -> None:
        """Tell the user that memory ran out, and what is done about it."""
        emitter, step = self._sitting.emitter, self.state.global_step + (not shrunk.evaluating)
        emitter.emit(out_of_memory(shrunk, step))

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
        """The evaluation, reported. Cut short (and then without metrics) when the run is to end."""
        emitter = self._sitting.emitter
        emitter.emit(StageChanged(stage="evaluating"))
        try:
            metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        except EvaluationCut:
            self.control.should_evaluate = False
            metrics = {}
        else:
            plain = {key.removeprefix("eval_"): value for key, value in metrics.items() if key != "epoch"}
            self.evaluation_due = False
            emitter.emit(Evaluated(step=self.state.global_step, metrics=finite(plain)))
            self._consider_stopping(plain["loss"])
        emitter.emit(StageChanged(stage="training"))
        return metrics

    def _consider_stopping(self, loss: float) -> None:
        """With a patience: save the best evaluated so far, and end when there was none for too long."""
        if self.early is None:
            return
        self.early.observe(self.state.global_step, loss)
        self.keep_best()
        if self.early.improved:
            self.best_home = self._sitting.directory.path
            self.control.should_save = True
            if self.save_reason != "requested":
                self.save_reason = "best"
        elif self.early.exhausted:
            self.control.should_save = self.control.should_training_stop = True
            self._sitting.emitter.emit(stopped_early(self.early, self.state.global_step))

    def keep_best(self) -> None:
        """Have rotation spare the checkpoint of the best evaluation."""
        if self.early and self.early.best_step is not None:
            self._sitting.store.best = self._sitting.directory.checkpoint(self.early.best_step)

    def _get_output_dir(self, trial: Any) -> str:
        """Where transformers puts `checkpoint-N`: the staging folder while one is written."""
        return str(self._staging) if self._staging else str(super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """One checkpoint for `save_reason`. A failed one leaves `save_error`, and training goes on."""
        step, store = self.state.global_step, self._sitting.store
        self.require_finite()
        self.keep_references()
        self._sitting.emitter.emit(StageChanged(stage="saving"))
        try:
            write = functools.partial(self._write_checkpoint, model, trial)
            store.save(step, self.save_reason, write, self.checkpoint_bytes())
            self.save_error = None
        except WriteFailed as error:
            self.save_error = str(error)

    def checkpoint_bytes(self) -> int:
        """About what a checkpoint takes on the disk: adapters, their moments, tokenizer, small files."""
        size = sum(parameter.numel() * parameter.element_size() for parameter in self._trained_parameters())
        moments = 2 * size // (4 if "8bit" in self.args.optim else 1)
        backend = getattr(self.processing_class, "backend_tokenizer", None)
        tokenizer = len(backend.to_str()) if backend is not None else 0
        return size + moments + tokenizer + _SMALL_FILES_BYTES

    def require_finite(self) -> None:
        """Raise NotFinite if a weight is no number: nothing is to be written from it."""
        if not all_finite(self._trained_parameters()):
            raise NotFinite(weights_lost(self.state.global_step, self._sitting.store.newest))

    def _trained_parameters(self) -> list[torch.Tensor]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def _write_checkpoint(self, model: Any, trial: Any) -> None:
        self._staging = self._sitting.store.staging
        try:
            super()._save_checkpoint(model, trial)
            folder = self._staging / f"checkpoint-{self.state.global_step}"
            (folder / ACCUMULATORS_NAME).write_text(json.dumps(self._accumulators()), encoding="utf-8")
            (folder / SETTINGS_NAME).write_text(to_yaml(self._sitting.config), encoding="utf-8")
        except Exception as error:
            if isinstance(error, OSError) or not is_disk_failure(error):
                raise
            raise as_os_error(error) from error
        finally:
            self._staging = None

    def _accumulators(self) -> dict[str, Any]:
        """What is summed up since the last log and known by now, so that a resumed run goes on alike."""
        return {
            "loss": float(self._tr_loss),
            "last_logged_step": self._globalstep_last_logged,
            "num_tokens": self._total_train_tokens,
            "metrics": self.tally.state(),
            "rewards": self.rewards.settled().state(),
            "rows_at_once": {"training": self.train_rows.at_once, "evaluation": self.eval_rows.at_once},
            "gradient_checkpointing": bool(self.args.activation_checkpointing),
            "early_stopping": self.early and self.early.state(),
            "best_home": self.best_home and str(self.best_home.resolve()),
            "skips": self.skips.state(),
            **self._sitting.identity,
            "resolved": self._sitting.resolved,
            "evaluation_due": self.evaluation_due,
        }

    def restore_accumulators(self, checkpoint: Path) -> None:
        """Take up the sums of a checkpoint; one of another program may have none."""
        saved = accumulators(checkpoint)
        if not saved:
            return
        self.best_home = Path(saved.get("best_home") or checkpoint.parent)
        try:
            self._restore(saved)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"--resume-from-checkpoint {checkpoint}: {ACCUMULATORS_NAME} is not what this version "
                "writes; resume from another checkpoint"
            ) from error

    def make_up_evaluation(self) -> None:
        """Evaluate now what was left out as the sitting before ended. Raises PatienceOver."""
        if self.evaluation_due:
            self.evaluate()
            if self.early and self.early.exhausted:
                raise PatienceOver

    def _restore(self, saved: dict[str, Any]) -> None:
        self._tr_loss = torch.tensor(saved["loss"], device=self._tr_loss.device)
        self._globalstep_last_logged = saved["last_logged_step"]
        self._total_train_tokens = saved["num_tokens"]
        self.tally.restore(saved["metrics"])
        self.rewards.settled().restore(saved["rewards"])
        self.train_rows.at_once = min(self.train_rows.at_once, saved["rows_at_once"]["training"])
        self.eval_rows.at_once = min(self.eval_rows.at_once, saved["rows_at_once"]["evaluation"])
        self.skips.restore(saved.get("skips") or self.skips.state())
        self.evaluation_due = bool(saved.get("evaluation_due")) and evaluates(self._sitting.config)
        if self.early and saved["early_stopping"]:
            self.early.restore(saved["early_stopping"])
            self.keep_best()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        check_adapter_fits(Path(resume_from_checkpoint), self.model)
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        float32_adapters(self.model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Go on at the learning rate and weight decay of the settings as they are now, not as they were.

        transformers takes over the rate that was computed for the next step of the old schedule: 0 at its
        end, so that the first of some added steps would train nothing.
        """
        peaks = list(self.lr_scheduler.base_lrs)
        decays = [group["weight_decay"] for group in self.optimizer.param_groups]
        if checkpoint is not None:
            check_fit(Path(checkpoint), self.optimizer, self.lr_scheduler)
        with loading(checkpoint, "optimizer.pt or scheduler.pt"):
            super()._load_optimizer_and_scheduler(checkpoint)
        self._check_moments(checkpoint)
        schedule = self.lr_scheduler
        schedule.base_lrs = peaks
        factors = [factor(schedule.last_epoch) for factor in schedule.lr_lambdas]
        rates = [peak * factor for peak, factor in zip(peaks, factors, strict=True)]
        groups = self.optimizer.param_groups
        for group, peak, rate, decay in zip(groups, peaks, rates, decays, strict=True):
            group["initial_lr"], group["lr"], group["weight_decay"] = peak, rate, decay
        schedule._last_lr = rates

    def _check_moments(self, checkpoint: str | None) -> None:
        """Raise UserError if the moments that were loaded are those of the other kind of AdamW."""
        wanted = "state1" if "8bit" in self.args.optim else "exp_avg"
        kept = {name for state in self.optimizer.state.values() for name in state}
        if kept and wanted not in kept:
            other = "adamw_torch" if wanted == "state1" else "adamw_8bit"
            raise UserError(
                f"--resume-from-checkpoint {checkpoint}: its moments are those of --optim {other}; "
                "resume with that, or start anew in another --output-dir"
            )

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with loading(checkpoint, "rng_state.pth"):
            super()._load_rng_state(checkpoint)

    def _load_scaler(self, checkpoint: str | None) -> None:
        if self.accelerator.scaler is None:
            return
        with loading(checkpoint, "scaler.pt"):
            super()._load_scaler(checkpoint)

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
