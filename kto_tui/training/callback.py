"""What happens between two steps: what is due by the schedule, and what the user asked for."""

# ruff: noqa: ARG002  (the hooks' signatures are transformers')

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from kto_tui.core.config import evaluates
from kto_tui.core.events import SaveReason, StageChanged
from kto_tui.training.memory import wait_for_device
from kto_tui.training.sitting import STEP_SECONDS, Sitting
from kto_tui.training.trackers import Trackers
from kto_tui.training.tracking import current
from kto_tui.training.trainer import EvaluationCut, SteeredTrainer


class StepBoundary(TrainerCallback):
    """Decides at each step's end whether to log, evaluate and save, and answers requests after a save."""

    def __init__(self, trainer: SteeredTrainer, sitting: Sitting) -> None:
        self._trainer = trainer
        self._sitting = sitting
        self._first_step = 0
        self._evaluated_batches = 0
        self._report_evaluation = sitting.progress("evaluating")
        self._report_step = sitting.progress("training", STEP_SECONDS)

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if resumed := self._sitting.resumed:
            self._trainer.restore_accumulators(resumed)
        self._first_step = self._sitting.step = state.global_step
        self._sitting.emitter.emit(StageChanged(stage="training"))
        self._report_step(state.global_step, state.max_steps, "")
        self._begin_trackers(args, state)
        self._trainer.make_up_evaluation()

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        if trackers := self._begin_trackers(args, state):
            trackers.log(args, state, given["logs"])

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._trainer.learn_references()

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == self._first_step:
            self._sitting.steering.end_before_first_step()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        sitting, step = self._sitting, state.global_step
        sitting.step = step
        sitting.has_trained = True
        self._report_step(step, state.max_steps, "")
        sitting.steering.poll()
        last = step >= state.max_steps
        control.should_log = last or step % sitting.config.logging_steps == 0
        self._trainer.evaluation_due = self._evaluation_due(step, last)
        control.should_evaluate = self._trainer.evaluation_due and not sitting.steering.wants_to_end
        scheduled = last or step % sitting.config.save_steps == 0
        control.should_save = scheduled or sitting.steering.reason is not None
        self._trainer.save_reason = self._reason(last)
        self._evaluated_batches = 0
        # Else what the device still has to do would count as the saving's or the evaluation's time.
        if control.should_log:
            self._trainer.keep_references()
        due = control.should_log or control.should_evaluate or control.should_save
        sitting.speedometer.end_step(wait_for_device if due else None)

    def on_prediction_step(
        self, args: Any, state: TrainerState, control: TrainerControl, eval_dataloader: Any = None, **_: Any
    ) -> None:
        steering = self._sitting.steering
        self._evaluated_batches += 1
        self._report_evaluation(self._evaluated_batches, len(eval_dataloader), "")
        steering.poll()
        if steering.wants_to_end:
            control.should_save = True
            self._trainer.save_reason = self._reason(state.global_step >= state.max_steps)
            raise EvaluationCut
        if steering.reason is not None:
            self._trainer.save_amid_evaluation(steering.reason)
            self._settle(state.global_step)
            self._sitting.emitter.emit(StageChanged(stage="evaluating"))
            if steering.ending:
                raise EvaluationCut

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        steering = self._sitting.steering
        steering.poll()  # What was asked while the checkpoint was written is answered with it.
        self._settle(state.global_step)
        if steering.ending:
            control.should_training_stop = True
        else:
            self._sitting.emitter.emit(StageChanged(stage="training"))

    def _begin_trackers(self, args: Any, state: TrainerState) -> Trackers | None:
        """The run's trackers, begun: an evaluation that is made up for may log without any training."""
        if trackers := current():
            trackers.begin(self._sitting.emitter.emit, args, state, self._trainer.model)
        return trackers

    def _settle(self, step: int) -> None:
        """Answer requests after a save. Raises OSError where it failed and the run is to end in any case."""
        steering, error = self._sitting.steering, self._trainer.save_error
        if error is None:
            steering.settle(f"checkpoint-{step}", self._sitting.store.pin_last)
        elif steering.insists:
            raise OSError(f"steps since the last checkpoint are lost: {error}")
        else:
            steering.reject_pending(f"the checkpoint could not be written: {error}")

    def _evaluation_due(self, step: int, last: bool) -> bool:
        config = self._sitting.config
        if not evaluates(config):
            return False
        return last or step % (config.eval_steps or config.save_steps) == 0

    def _reason(self, last: bool) -> SaveReason:
        asked = self._sitting.steering.reason
        if last and asked != "requested":
            return "final"
        return asked or "scheduled"
