"""TRL's own KTOTrainer as it comes, with a clock. `precompute` has it compute its reference beforehand."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer, BitsAndBytesConfig, PrinterCallback, TrainerCallback
from trl import KTOConfig, KTOTrainer

from benchmarks.child import serve
from benchmarks.sides import LORA_ALPHA, LORA_RANK, Trained, Training, concluded, limit_memory, settle


class Clock(TrainerCallback):
    """From the beginning of training to the end of the last step."""

    began = ended = 0.0

    def __init__(self, device: str) -> None:
        self._device = device

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        settle(self._device)
        self.began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        settle(self._device)
        self.ended = time.perf_counter()


class ClockedTrainer(KTOTrainer):  # type: ignore[misc]
    """Times the pass over the reference that comes before training."""

    precompute_seconds = 0.0

    def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        found = super()._precompute_ref_logps(*args, **kwargs)
        self.precompute_seconds += time.perf_counter() - begun
        return found


def train(order: Training) -> Trained:
    """Train, and save the adapter to `final_model`, where our own runs have theirs."""
    limit_memory(order)
    clock = Clock(order.device)
    trainer = build_trainer(order, clock)
    trainer.remove_callback(PrinterCallback)
    assert len(trainer.train_dataset) == order.rows, f"TRL kept {len(trainer.train_dataset)} rows"
    assert order.precompute == (trainer.precompute_seconds > 0)
    trainer.train()
    trainer.save_model(str(Path(order.output) / "final_model"))
    return concluded(
        order,
        steps=trainer.state.global_step,
        step_seconds=clock.ended - clock.began,
        precompute_seconds=trainer.precompute_seconds,
    )


def build_trainer(order: Training, clock: Clock) -> ClockedTrainer:
    rows = [json.loads(line) for line in Path(order.dataset).read_text(encoding="utf-8").splitlines()]
    return ClockedTrainer(
        model=order.model,
        args=arguments(order),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(order.model, local_files_only=True),
        quantization_config=packing(order),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM", r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules="all-linear"
        ),
        callbacks=[clock],
    )


def arguments(order: Training) -> KTOConfig:
    """TRL's defaults, but for what has to be the same on all sides and for what is no training."""
    cuda = order.device == "cuda"
    return KTOConfig(
        output_dir=order.output,
        model_init_kwargs={"dtype": order.dtype},
        max_length=order.max_length,
        per_device_train_batch_size=order.batch_size,
        gradient_accumulation_steps=order.accumulation,
        max_steps=order.steps or -1,
        num_train_epochs=order.epochs,
        learning_rate=order.learning_rate,
        bf16=cuda and order.dtype == "bfloat16",
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        seed=order.seed,
        precompute_ref_log_probs=order.precompute,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def packing(order: Training) -> BitsAndBytesConfig | None:
    """4-bit weights as our own model.py asks for them."""
    if order.quantization != "nf4":
        return None
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, order.dtype),
    )


if __name__ == "__main__":
    serve(train, Training)
