"""What is kept from run to run: the reference's log-probabilities, and tokenized rows."""

import importlib.metadata
import os
from pathlib import Path

import torch

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import one_line
from kto_tui.core.events import ReferenceCacheReady
from kto_tui.core.setting import NO_CACHE
from kto_tui.training.alerts import cache_trouble
from kto_tui.training.batches import Collator
from kto_tui.training.beginning import adapter_digest
from kto_tui.training.model import Base
from kto_tui.training.plans import Planned
from kto_tui.training.reference import ReferenceCache, default_root
from kto_tui.training.reference.fingerprint import fingerprint
from kto_tui.training.sitting import Sitting
from kto_tui.training.token_cache import TokenCache

# Their releases may round otherwise; SCORING is raised whenever our own way of scoring gives other numbers.
_COMPUTES = ("torch", "transformers", "peft", "bitsandbytes")
SCORING = 1


def cache_root(config: RunConfig) -> Path | None:
    """The folder of all caches; None where they are switched off."""
    if config.reference_cache == NO_CACHE:
        return None
    return Path(os.path.expanduser(config.reference_cache)) if config.reference_cache else default_root()


def open_token_cache(config: RunConfig) -> TokenCache | None:
    """Tokenized rows of this run and others."""
    root = cache_root(config)
    return TokenCache(root) if root else None


def open_reference_cache(sitting: Sitting, base: Base, plan: Planned) -> ReferenceCache | None:
    """Reference log-probabilities that fit this base, its device and its number format; reported."""
    root, emitter = cache_root(sitting.config), sitting.emitter
    blocks = len(plan.blocks)
    if root is None:
        emitter.emit(ReferenceCacheReady(path=None, blocks=blocks, known=0, bytes=0, limit_bytes=0))
        return None
    sitting.progress("caching_reference")(0, 0, "recognizing the base model")
    try:
        cache = ReferenceCache.open(root, namespace(base))
    except ValueError as error:
        emitter.emit(cache_trouble(f"this model's weights cannot be recognized ({one_line(error)})"))
        return None
    emitter.emit(
        ReferenceCacheReady(
            path=str(root),
            blocks=blocks,
            known=_known(cache, sitting.config, base, plan),
            bytes=cache.bytes_on_disk,
            limit_bytes=cache.limit_bytes,
        )
    )
    return cache


def namespace(base: Base) -> str:
    """Everything that reference log-probabilities depend on beside the tokens.

    The weights as they lie in memory and not the model's name: a folder may hold others tomorrow.
    """
    versions = [f"{name} {importlib.metadata.version(name)}" for name in _COMPUTES]
    versions.append(f"scoring {SCORING}")
    if base.adapter:
        versions.append(f"adapter {adapter_digest(base.adapter)}")
    attention = str(base.model.config._attn_implementation)
    return fingerprint(base.model, base.dtype, base.quantization, attention, _processor(), *versions)


def _processor() -> str:
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return f"cpu {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


def _known(cache: ReferenceCache, config: RunConfig, base: Base, plan: Planned) -> int:
    if not cache.entries:
        return 0
    paired = config.loss_type != "apo_zero_unpaired"
    collator = Collator(base.tokenizer.pad_token_id, config.max_length, paired)
    keys = (collator.key([plan.rows[row] for row in block]) for block in plan.blocks)
    return sum(cache.get(key) is not None for key in keys)
