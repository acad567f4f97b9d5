"""The heavy half of a sitting: data, model, trainer, training, final model."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import datasets
import transformers
from transformers import PreTrainedTokenizerBase, PrinterCallback

from kto_tui.core.config import RunConfig, evaluates
from kto_tui.core.datareport import DataReport
from kto_tui.core.directory import RunDirectory
from kto_tui.core.events import AlertRaised, DataReady, DataReported, ModelLoaded, StageChanged
from kto_tui.core.manifest import problem_of
from kto_tui.core.schedule import total_steps
from kto_tui.models.adapter import trainable_adapter
from kto_tui.sizing.lengths import Lengths
from kto_tui.training.alerts import final_is_best
from kto_tui.training.arguments import kto_config, lora_config
from kto_tui.training.caches import open_reference_cache
from kto_tui.training.callback import StepBoundary
from kto_tui.training.dataset import Prepared, split_rows
from kto_tui.training.early import EarlyStopping
from kto_tui.training.final import write_final_model
from kto_tui.training.fits import batch_alert, longest_of, memory_alert
from kto_tui.training.going_on import check_checkpoint, check_identity
from kto_tui.training.identity import resolved
from kto_tui.training.memory import free_bytes
from kto_tui.training.model import Base, adapter_parameters, load_base
from kto_tui.training.optional import given
from kto_tui.training.plans import Planned
from kto_tui.training.preparing import Preparing
from kto_tui.training.reading import ReadRows, Split, read_rows
from kto_tui.training.reference_adapter import as_reference, going_on_with
from kto_tui.training.resumed import accumulators, last_metrics, resumed_step
from kto_tui.training.sitting import Sitting
from kto_tui.training.space import check_before_training
from kto_tui.training.steering import Ending
from kto_tui.training.targets import all_parameters
from kto_tui.training.tracking import tracked
from kto_tui.training.trainer import PatienceOver, SteeredTrainer, StepLeft
from kto_tui.training.weights import chosen_weights

logger = logging.getLogger(__name__)


class Work:
    """One sitting's data, model and trainer, made one after the other."""

    def __init__(self, sitting: Sitting) -> None:
        self._sitting = sitting
        self._config: RunConfig = sitting.config
        self._reports: Mapping[Split, DataReport] = {}

    def carry_out(self) -> Ending | None:
        """All of it. Returns how a request ended the sitting; None when the run is complete."""
        _quieten()
        sitting = self._sitting
        if resumed := sitting.resumed:
            check_checkpoint(sitting, resumed)
            sitting.step = resumed_step(resumed)
            sitting.steering.began_at(sitting.step)
        read = self._read_rows()
        sitting.steering.end_before_first_step()
        with contextlib.closing(Preparing(sitting, read)) as preparing:

            def begin(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
                preparing.begin(tokenizer)
                self._say_what_fits(
                    folder, longest_of(read["train"].rows, tokenizer, self._config.max_length)
                )

            base = load_base(self._config, sitting.progress("loading_model"), begin)
            self._report_model(base)
            sitting.steering.end_before_first_step()
            endless = read["train"].rows.holds_text and base.tokenizer.eos_token is None
            prepared = self._prepare(preparing, endless)
        check_identity(sitting, base, prepared)
        trainer = self._build_trainer(base, prepared, read["train"].rows.chosen(prepared["train"].kept).where)
        self._check_space(trainer)
        sitting.steering.end_before_first_step()
        examples = prepared["train"].examples
        with tracked(self._config), contextlib.closing(trainer):
            self._train(trainer, total_steps(self._config, examples))
            return self._conclude(trainer, base, examples)

    def _read_rows(self) -> dict[Split, ReadRows]:
        """By split. Before the model, so that bad data is noticed before gigabytes are loaded."""
        config = self._config
        assert config.dataset is not None
        self._sitting.progress("loading_model")(0, 0, "reading the data")
        read: dict[Split, ReadRows] = {"train": read_rows(config, config.dataset)}
        if config.eval_dataset is not None:
            read["eval"] = read_rows(config, config.eval_dataset)
        elif config.eval_fraction is not None:
            whole = read["train"]
            train, held_out = split_rows(whole.rows, config.eval_fraction, config.seed)
            read = {"train": whole.part(train), "eval": whole.part(held_out)}
        return read

    def _say_what_fits(self, folder: Path, lengths: Lengths) -> None:
        """Before the weights are loaded, and again only where it may have changed."""
        for alert in (batch_alert(self._config), memory_alert(self._config, folder, lengths)):
            if alert is not None:
                self._sitting.emitter.emit(alert)

    def _report_model(self, base: Base) -> None:
        for alert in base.alerts:
            self._sitting.emitter.emit(alert)
        trainable = adapter_parameters(base.model, self._config.lora_rank, base.targets)
        source = base.source.label
        if base.adapter and (adapter := trainable_adapter(base.adapter)):
            trainable, source = adapter.parameters, f"adapter of {base.name} ({source})"
        self._sitting.emitter.emit(
            ModelLoaded(
                name=str(self._config.model),
                parameters=all_parameters(base.model),
                trainable_parameters=trainable,
                quantization=base.quantization,
                dtype=base.dtype,
                device=str(base.model.device),
                source=source,
            )
        )

    def _prepare(self, preparing: Preparing, endless: bool) -> dict[Split, Prepared]:
        """The tokenized rows by split, reported; `endless`: answers of text are given no end mark."""
        self._sitting.emitter.emit(StageChanged(stage="preparing_data"))
        prepared = preparing.finish()
        if endless:
            self._warn_of_endless_answers()
        self._report_data(prepared["train"])
        self._reports = preparing.reports
        for split, report in self._reports.items():
            self._sitting.emitter.emit(DataReported(split=split, report=report))
        return prepared

    def _report_data(self, prepared: Prepared) -> None:
        if prepared.shifted:
            logger.warning("%d prompts are tokenized otherwise once an answer follows", prepared.shifted)
        self._sitting.emitter.emit(
            DataReady(
                desirable=prepared.desirable,
                undesirable=prepared.undesirable,
                examples=prepared.examples,
                dropped=prepared.dropped,
                truncated=prepared.truncated,
                weights=chosen_weights(self._config, prepared.desirable, prepared.undesirable),
                prompt_tokens=prepared.prompt_tokens,
                completion_tokens=prepared.completion_tokens,
            )
        )

    def _warn_of_endless_answers(self) -> None:
        self._sitting.emitter.emit(
            AlertRaised(
                kind="no_eos_token",
                severity="warning",
                message="the model's tokenizer has no end token, so no end is put after the data's answers",
                advice="The model may not learn where to stop: give the answers an end mark of your own, "
                "choose a model whose tokenizer has an eos_token, or give the rows as conversations.",
            )
        )

    def _build_trainer(
        self, base: Base, prepared: Mapping[Split, Prepared], name_of: Callable[[int], str]
    ) -> SteeredTrainer:
        """The trainer. With a large model it takes a while to attach the adapters."""
        self._sitting.progress("preparing_data")(0, 0, "attaching adapters")
        train = prepared["train"]
        plans = {split: Planned(found.rows, found.blocks) for split, found in prepared.items()}
        trainer = SteeredTrainer(
            self._sitting,
            name_of,
            model=going_on_with(base, self._config) if base.adapter else base.model,
            args=kto_config(self._config, chosen_weights(self._config, train.desirable, train.undesirable)),
            processing_class=base.tokenizer,
            train=plans["train"],
            evaluation=plans.get("eval"),
            kl_scope=self._config.kl_scope,
            reference=open_reference_cache(self._sitting, base, plans["train"]),
            peft_config=None
            if base.adapter
            else lora_config(self._config, base.targets, base.source.revision),
        )
        if base.adapter:
            as_reference(trainer.model, base.adapter)
        if self._config.gradient_checkpointing == "auto" and self._memory_is_short(trainer):
            trainer.checkpoint_gradients()
        self._sitting.resolved = resolved(
            self._config,
            quantization=base.quantization,
            dtype=base.dtype,
            optim=trainer.args.optim,
            rows=(train.desirable, train.undesirable),
        )
        trainer.remove_callback(PrinterCallback)  # The journal holds each step; the log need not.
        trainer.add_callback(StepBoundary(trainer, self._sitting))
        return trainer

    def _check_space(self, trainer: SteeredTrainer) -> None:
        """Raise UserError if not one checkpoint fits on the disk; warn if not all of them will."""
        directory = self._sitting.directory
        missing = max(1, self._config.save_total_limit + 1 - len(directory.checkpoints()))
        if alert := check_before_training(directory.path, trainer.checkpoint_bytes(), missing):
            self._sitting.emitter.emit(alert)

    def _memory_is_short(self, trainer: SteeredTrainer) -> bool:
        """Whether activations are to be computed again; a resumed run goes on as it began, to the bit."""
        saved = accumulators(self._sitting.resumed) if self._sitting.resumed else {}
        if "gradient_checkpointing" in saved:
            return bool(saved["gradient_checkpointing"])
        return trainer.needed_bytes() > free_bytes()

    def _train(self, trainer: SteeredTrainer, last_step: int) -> None:
        resumed, early = self._sitting.resumed, trainer.early
        if resumed and early:
            saved = accumulators(resumed)
            early.restore(saved.get("early_stopping") or early.state())
            trainer.best_home = Path(saved.get("best_home") or resumed.parent)
            trainer.keep_best()
        if resumed and self._sitting.step >= last_step:
            self._take_finished(trainer, resumed, self._past_the_end(resumed, last_step))
        elif resumed and early and early.exhausted:
            patience = f"--early-stopping-patience {self._config.early_stopping_patience}"
            self._take_finished(trainer, resumed, f"{resumed.name}: {patience} had run out")
        else:
            try:
                trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
            except StepLeft:
                self._leave_step(trainer)
            except PatienceOver:
                patience = f"--early-stopping-patience {self._config.early_stopping_patience}"
                self._say_nothing_left(f"{given(resumed).name}: {patience} has run out")

    def _leave_step(self, trainer: SteeredTrainer) -> None:
        """The run is to end and the step under way was left. Raises OSError if its end cannot be saved."""
        steering = self._sitting.steering
        if not self._sitting.has_trained:
            steering.end_before_first_step()
        trainer.save_left_step()
        if trainer.save_error:
            steering.reject_pending(f"the checkpoint could not be written: {trainer.save_error}")
            raise OSError(f"steps since the last checkpoint are lost: {trainer.save_error}")
        steering.settle(f"checkpoint-{self._sitting.step}", self._sitting.store.pin_last)

    def _past_the_end(self, resumed: Path, last_step: int) -> str:
        step, config = self._sitting.step, self._config
        if step == last_step:
            return f"{resumed.name} is already at the last step, {step}"
        if config.max_steps is not None:
            return f"{resumed.name}: step {step} is past --max-steps {config.max_steps}"
        epochs = f"--num-epochs {config.num_epochs:g}"
        return f"{resumed.name}: step {step} is past {epochs}, which ends at step {last_step}"

    def _take_finished(self, trainer: SteeredTrainer, resumed: Path, message: str) -> None:
        """There is nothing left to train, as `message` says: transformers would train one more step."""
        trainer.load_adapter_of(resumed)
        self._sitting.store.rotate()  # Its worker may have died before it could.
        trainer.latest = last_metrics(resumed)
        trainer.state.global_step = self._sitting.step
        if accumulators(resumed).get("evaluation_due") and evaluates(self._config):
            trainer.evaluation_due = True
            trainer.evaluate()
            self._sitting.steering.end_before_first_step()
        self._say_nothing_left(message)

    def _say_nothing_left(self, message: str) -> None:
        self._sitting.progress("training")(self._sitting.step, self._sitting.step, "")
        self._sitting.emitter.emit(
            AlertRaised(
                kind="nothing_left_to_train",
                severity="info",
                message=message,
                advice="To train on, raise --max-steps, --num-epochs or --early-stopping-patience, and add "
                "--allow-changed-settings.",
                step=self._sitting.step,
            )
        )

    def _conclude(self, trainer: SteeredTrainer, base: Base, examples: int) -> Ending | None:
        """Write the final model, unless a request ended the sitting before the last step."""
        ending = self._sitting.steering.ending
        early = trainer.early
        complete = self._sitting.step >= total_steps(self._config, examples) or (early and early.exhausted)
        if early and trainer.evaluation_due:
            complete = False  # Which step is the best is not known before that evaluation was made up for.
        if ending in ("parked", "abandoned") or not complete:
            return ending
        self._sitting.emitter.emit(StageChanged(stage="saving"))
        step = self._take_best(trainer, early) if early else self._sitting.step
        write_final_model(self._sitting, trainer, base, examples, step, self._reports.get("train"))
        return None

    def _take_best(self, trainer: SteeredTrainer, early: EarlyStopping) -> int:
        """Have the final model be the best evaluated one, where its checkpoint is there. Returns its step."""
        step = self._sitting.step
        if early.best_step is None or early.best_step == step:
            return step
        found = best_folders(self._sitting.directory, trainer.best_home, early.best_step)
        self._sitting.emitter.emit(final_is_best(early, bool(found), step))
        if not found:
            return step
        trainer.load_adapter_of(found[0])
        trainer.latest = last_metrics(found[0])
        return early.best_step


def best_folders(directory: RunDirectory, home: Path | None, step: int) -> list[Path]:
    """Where the whole checkpoint of the best evaluation lies: in this run, or in the one it came from."""
    places = [directory.checkpoint(step), *([home / f"checkpoint-{step}"] if home else [])]
    return [folder for folder in places if folder.is_dir() and problem_of(folder) is None]


def _quieten() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
