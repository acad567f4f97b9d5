"""The peak of real steps of the engine on a CPU, to hold the plan against, by torch's own count."""

import gc
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.profiler import profile
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from kto_tui.core.config import ALL_LINEAR, RunConfig
from kto_tui.sizing.lengths import Lengths
from kto_tui.sizing.memory import HOST_BYTES, estimate
from kto_tui.sizing.shape import ModelShape
from kto_tui.training.arguments import lora_config
from kto_tui.training.engine import EngineTrainer
from kto_tui.training.experts import with_experts
from kto_tui.training.packing import keep_differentiable
from kto_tui.training.plans import Planned
from kto_tui.training.targets import choose_targets
from kto_tui.training.tiny import build_tokenizer
from kto_tui.training.tokens import TokenizedRows
from kto_tui.training.trainer import float32_adapters
from tests.training.short import short

STEPS = 2  # The moments are there from the second on.
_SMALL = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "sliding_window": None,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


@dataclass(frozen=True)
class Case:
    """A model and the block that is passed through it. `changes` are to the small model's config."""

    family: str = "llama"
    changes: tuple[tuple[str, Any], ...] = ()
    batch: int = 4
    accumulation: int = 2
    prompt: int = 64
    answer: int = 192
    rank: int = 8
    dtype: str = "float32"
    quantization: str = "none"
    checkpointing: bool = False
    targets: str = ALL_LINEAR

    def describe(self) -> str:
        changed = " ".join(f"{name}={value}" for name, value in self.changes)
        kept = "checkpointed" if self.checkpointing else "kept"
        return (
            f"{self.family} {self.batch}x{self.accumulation} of {self.prompt}+{self.answer} rank {self.rank}"
            f" {self.quantization} {self.dtype} {kept} {changed}".strip()
        )


def case(family: str = "llama", **values: Any) -> Case:
    """A case; what is no field of it changes the model's config."""
    fields = {name: values.pop(name) for name in list(values) if name in Case.__dataclass_fields__}
    return Case(family, tuple(values.items()), **fields)


def planned_bytes(tried: Case) -> int:
    """What the plan says, without the process's own share, which the allocator does not see."""
    lengths = Lengths(tried.prompt + tried.answer, tried.answer, "tokens")
    shape = ModelShape.from_config(_config(tried).to_dict())
    return estimate(shape, _settings(tried), lengths, "cpu").total_bytes - HOST_BYTES


def _settings(tried: Case) -> RunConfig:
    return RunConfig(
        model="small",
        quantization=tried.quantization,  # type: ignore[arg-type]
        dtype=tried.dtype,  # type: ignore[arg-type]
        lora_rank=tried.rank,
        batch_size=tried.batch,
        gradient_accumulation_steps=tried.accumulation,
        gradient_checkpointing="on" if tried.checkpointing else "off",
        lora_target_modules=tried.targets,
    )


def measured_bytes(tried: Case) -> int:
    """Weights as they lie in memory, and the most that torch's allocator gave while it trained two steps."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(tried, Path(folder))
        float32_adapters(trainer.model)
        fixed = _bytes_of(trainer.model)
        gc.collect()  # Of cases before: what is given back while it is counted would be taken off.
        with profile(profile_memory=True) as seen:
            trainer.train()
    changes = sorted(
        (event.start_ns(), place, event.nbytes())
        for place, event in enumerate(seen.kineto_results.events())
        if event.name() == "[memory]"
    )
    total = most = 0
    for _, _, change in changes:
        total += change
        most = max(most, total)
    return fixed + most


def _config(tried: Case) -> PretrainedConfig:
    config: PretrainedConfig = AutoConfig.for_model(tried.family, **{**_SMALL, **dict(tried.changes)})
    return config


def _trainer(tried: Case, folder: Path) -> EngineTrainer:
    model = _model(tried, folder)
    config = _settings(tried)
    rows = _rows(tried, model.config.get_text_config().vocab_size)
    numbers = range(len(rows))
    blocks = [numbers[first : first + tried.batch] for first in numbers[:: tried.batch]]
    return EngineTrainer(
        train=Planned(rows, blocks),
        model=model,
        args=short(
            folder,
            max_length=tried.prompt + tried.answer,
            per_device_train_batch_size=tried.batch,
            gradient_accumulation_steps=tried.accumulation,
            max_steps=STEPS,
            gradient_checkpointing=tried.checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
            bf16=tried.dtype == "bfloat16",
            optim="adamw_torch_fused",
        ),
        processing_class=build_tokenizer(),
        peft_config=lora_config(config, choose_targets(config, model)),
    )


def _model(tried: Case, folder: Path) -> PreTrainedModel:
    dtype = getattr(torch, tried.dtype)
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(_config(tried), dtype=dtype)  # type: ignore[no-untyped-call]
    if tried.quantization == "none":
        return model
    model.save_pretrained(folder)
    packing = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    packed: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, quantization_config=with_experts(packing), device_map={"": "cpu"}
    )
    keep_differentiable(packed)
    return packed


def _rows(tried: Case, vocabulary: int) -> TokenizedRows:
    generator = torch.Generator().manual_seed(3)

    def ids(count: int) -> list[int]:
        return torch.randint(5, vocabulary, (count,), generator=generator).tolist()

    count = tried.batch * tried.accumulation * STEPS
    return TokenizedRows.of((ids(tried.prompt), ids(tried.answer), row % 2 == 0) for row in range(count))


def _bytes_of(model: torch.nn.Module) -> int:
    """Of all weights and buffers, each storage once, the scales of packed ones included."""
    tensors = [part for weight in model.parameters() for part in _parts(weight)]
    storages = {tensor.untyped_storage() for tensor in (*tensors, *model.buffers())}
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _parts(weight: Any) -> Iterable[Tensor]:
    yield weight.data
    packed = getattr(weight, "quant_state", None)
    if packed is not None:
        yield from (packed.absmax, packed.code, packed.offset, packed.state2.absmax, packed.state2.code)
