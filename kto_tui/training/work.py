"""The heavy half of a sitting: data, model, trainer, training, final model."""

import json
import logging
from pathlib import Path

import datasets
import transformers
from datasets import Dataset
from transformers import PrinterCallback

from kto_tui.core.compatibility import check_adapter
from kto_tui.core.config import RunConfig, class_weights
from kto_tui.core.errors import UserError
from kto_tui.core.events import AlertRaised, DataReady, ModelLoaded, StageChanged
from kto_tui.core.schedule import total_steps
from kto_tui.data import Row
from kto_tui.training.arguments import kto_config, lora_config
from kto_tui.training.callback import StepBoundary
from kto_tui.training.dataset import Prepared, prepare, read_rows
from kto_tui.training.final import write_final_model
from kto_tui.training.model import Base, load_base
from kto_tui.training.sitting import Sitting
from kto_tui.training.steering import Ending
from kto_tui.training.trainer import SteeredTrainer
from kto_tui.training.weights import balanced_weights

logger = logging.getLogger(__name__)


class Work:
    """One sitting's data, model and trainer, made one after the other."""

    def __init__(self, sitting: Sitting) -> None:
        self._sitting = sitting
        self._config: RunConfig = sitting.config
        self._rows: dict[str, list[Row]] = {}
        self._examples = 0
        self._weights = (1.0, 1.0)
        self._base: Base

    def carry_out(self) -> Ending | None:
        """All of it. Returns how a request ended the sitting; None when the run is complete."""
        _quieten()
        sitting = self._sitting
        resumed = sitting.resumed
        if resumed:
            check_adapter(resumed, self._config)
            sitting.step = resumed_step(resumed)
            sitting.steering.began_at(sitting.step)
        self._read_rows()
        sitting.steering.end_before_first_step()
        self._base = load_base(self._config, sitting.progress("loading_model"))
        sitting.steering.end_before_first_step()
        trainer = self._build_trainer()
        sitting.steering.end_before_first_step()
        try:
            if resumed and sitting.step >= total_steps(self._config, self._examples):
                self._take_finished(trainer, resumed)
            else:
                trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        finally:
            _finish_wandb(self._config)
        return self._conclude(trainer)

    def _read_rows(self) -> None:
        """Before the model, so that bad data is noticed before gigabytes are loaded."""
        assert self._config.dataset is not None
        self._sitting.progress("loading_model")(0, 0, "reading the data")
        self._rows["train"] = read_rows(self._config, self._config.dataset)
        if self._config.eval_dataset is not None:
            self._rows["eval"] = read_rows(self._config, self._config.eval_dataset)

    def _build_trainer(self) -> SteeredTrainer:
        # TRL looks at one row before it has ours tokenized: see SteeredTrainer._prepare_dataset.
        placeholder = Dataset.from_dict({"row": [0]})
        trainer = SteeredTrainer(
            self._sitting,
            self._prepare,
            model=self._base.model,
            args=kto_config(self._config),
            processing_class=self._base.tokenizer,
            train_dataset=placeholder,
            eval_dataset=placeholder if "eval" in self._rows else None,
            peft_config=lora_config(self._config),
        )
        trainer.remove_callback(PrinterCallback)  # The journal holds each step; the log need not.
        trainer.set_weights(*self._weights)
        trainer.add_callback(StepBoundary(trainer, self._sitting))
        return trainer

    def _prepare(self, split: str) -> Dataset:
        """The tokenized rows of a split; TRL asks for "train" first, with the adapters attached."""
        sitting = self._sitting
        if split == "train":
            self._report_model()
            sitting.emitter.emit(StageChanged(stage="preparing_data"))
        report = sitting.progress("preparing_data")
        detail = "tokenizing" if split == "train" else "tokenizing evaluation rows"

        def on_row(done: int, total: int) -> None:
            report(done, total, detail)
            if done % 64 == 0:
                sitting.steering.end_before_first_step()

        config = self._config
        source = config.dataset if split == "train" else config.eval_dataset
        prepared = prepare(self._rows.pop(split), self._base.tokenizer, config, on_row, source=source)
        if split == "train":
            self._report_data(prepared)
        return prepared.dataset

    def _report_model(self) -> None:
        base = self._base
        self._sitting.emitter.emit(
            ModelLoaded(
                name=str(self._config.model),
                parameters=base.model.num_parameters(),
                trainable_parameters=base.model.num_parameters(only_trainable=True),
                quantization=base.quantization,
                dtype=base.dtype,
                device=str(base.model.device),
                source=base.source.label,
            )
        )

    def _report_data(self, prepared: Prepared) -> None:
        chosen = class_weights(self._config.class_weights)
        self._weights = chosen or balanced_weights(prepared.desirable, prepared.undesirable)
        self._examples = prepared.examples
        if prepared.shifted:
            logger.warning("%d prompts are tokenized otherwise once an answer follows", prepared.shifted)
        self._sitting.emitter.emit(
            DataReady(
                desirable=prepared.desirable,
                undesirable=prepared.undesirable,
                examples=prepared.examples,
                dropped=prepared.dropped,
                truncated=prepared.truncated,
                weights=self._weights,
                prompt_tokens=prepared.prompt_tokens,
                completion_tokens=prepared.completion_tokens,
            )
        )

    def _take_finished(self, trainer: SteeredTrainer, resumed: Path) -> None:
        """The checkpoint is already at the last step: transformers would train one more."""
        trainer.load_adapter_of(resumed)
        step = self._sitting.step
        self._sitting.emitter.emit(
            AlertRaised(
                kind="nothing_left_to_train",
                severity="info",
                message=f"{resumed.name} is already at the last step, {step}",
                advice="Raise --max-steps or --num-epochs to train on.",
                step=step,
            )
        )

    def _conclude(self, trainer: SteeredTrainer) -> Ending | None:
        """Write the final model, unless a request ended the sitting before the last step."""
        ending = self._sitting.steering.ending
        complete = self._sitting.step >= total_steps(self._config, self._examples)
        if ending in ("parked", "abandoned") or not complete:
            return ending
        self._sitting.emitter.emit(StageChanged(stage="saving"))
        write_final_model(self._sitting, trainer, self._base.source, self._examples)
        return None


def resumed_step(checkpoint: Path) -> int:
    """The optimizer step of a checkpoint, from its trainer state. Raises UserError."""
    path = checkpoint / "trainer_state.json"
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"--resume-from-checkpoint {checkpoint}: found no readable {path.name}; "
            "resume from another checkpoint"
        ) from None


def _quieten() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _finish_wandb(config: RunConfig) -> None:
    if not config.wandb:
        return
    import wandb

    if wandb.run is not None:
        wandb.finish()
