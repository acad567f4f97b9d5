"""The run's settings as TRL and transformers take them."""

import math

import torch
from peft import LoraConfig
from trl import KTOConfig

from kto_tui.core.config import RunConfig
from kto_tui.training.targets import EVERY_LINEAR, Targets


def compute_dtype(config: RunConfig) -> torch.dtype:
    """The dtype of the computation.

    auto is bfloat16 only where a GPU has it: a CPU without AMX or AVX512-BF16 multiplies it a hundred
    times slower than float32.
    """
    if config.dtype != "auto":
        chosen = getattr(torch, config.dtype)
        assert isinstance(chosen, torch.dtype)
        return chosen
    if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def lora_config(
    config: RunConfig, targets: Targets = EVERY_LINEAR, revision: str | None = None
) -> LoraConfig:
    """LoRA on these layers: never the head, whose log-probabilities the engine computes by itself.

    `revision`: the commit of the base on the hub.
    """
    return LoraConfig(
        revision=revision,
        task_type="CAUSAL_LM",
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=targets.modules,
        target_parameters=targets.parameters or None,
    )


def kto_config(config: RunConfig, weights: tuple[float, float]) -> KTOConfig:
    """All training arguments; `weights` are (desirable, undesirable).

    When to log, save and evaluate is decided by our callback, from `config`.
    """
    cuda = torch.cuda.is_available()
    dtype = compute_dtype(config)
    return KTOConfig(
        output_dir=config.output_dir,
        loss_type=config.loss_type,
        beta=config.beta,
        desirable_weight=weights[0],
        undesirable_weight=weights[1],
        max_length=config.max_length,
        # TRL would switch off the adapters' dropout too.
        disable_dropout=config.lora_dropout == 0,
        max_steps=config.max_steps or -1,
        num_train_epochs=config.num_epochs,
        per_device_train_batch_size=config.batch_size,
        # TRL pairs evaluation rows in blocks of the training batch.
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        # auto is decided once the model is there.
        gradient_checkpointing=config.gradient_checkpointing == "on",
        gradient_checkpointing_kwargs={"use_reentrant": False},
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=warmup_steps(config),
        optim=optimizer(config, cuda),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=dtype is torch.bfloat16,
        fp16=dtype is torch.float16,
        use_cpu=not cuda,
        seed=config.seed,
        dataloader_num_workers=0,
        dataloader_pin_memory=cuda,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        logging_steps=config.logging_steps,
        save_steps=config.save_steps,
        # A loss that is not finite is shown as such, not as the mean of the ones before.
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],  # Trackers are fed from threads of their own: see trackers/.
        run_name=config.wandb_run_name,
        push_to_hub=False,
    )


def optimizer(config: RunConfig, cuda: bool) -> str:
    """transformers' name of the optimizer. torch's AdamW is taken in its fused form.

    It is the same arithmetic, and allocates nothing once it has begun: a step that runs out of memory has
    then not been taken by half.
    """
    chosen = ("adamw_8bit" if cuda else "adamw_torch") if config.optim == "auto" else config.optim
    return "adamw_torch_fused" if chosen == "adamw_torch" else chosen


def warmup_steps(config: RunConfig) -> float:
    """The warm-up as transformers takes it: below 1 a share of all steps, from 1 a count."""
    if config.lr_scheduler_type == "constant" or config.warmup_ratio == 0:
        return 0
    return min(config.warmup_ratio, math.nextafter(1.0, 0.0))
