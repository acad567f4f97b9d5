"""Which frozen base the reference log-probabilities belong to.

The content of the weights is hashed, all of it, and not the model's name: a local folder may be trained on or
merged into under the same name, a hub revision may move, and the same files give other values once they are
packed in 4 bits. A cache that goes by the name would hand out stale values in silence. Hashing costs about
as much as reading the weights once more from memory.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor

_CHUNK_BYTES = 16 << 20  # Of a tensor on a GPU, so much is copied at a time by each thread.
_MOST_THREADS = 8
_DIGEST_BYTES = 16

# Settings that say where a model came from or how it is run, and not what it computes.
_VOLATILE = frozenset({"_name_or_path", "_commit_hash", "transformers_version", "use_cache"})


def fingerprint(model: torch.nn.Module, *extra: str) -> str:
    """32 hex digits that stand for the frozen base in `model`, its configuration and the `extra` strings.

    The base is the same before and after PEFT wraps it, whatever the adapters hold. It covers every parameter
    and buffer by name, type, shape and bytes, quantized ones with their scales; in a model without PEFT also
    those that are being trained, so that of a model trained in full it has to be taken before the first step.
    Raises ValueError for weights whose content is not at hand: on the meta device, or in a tensor that wraps
    others.
    """
    base = _base_of(model)
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES, person=b"kto-tui base 1")
    for text in (_settings(base), *extra):
        _update(digest, "text", text.encode())
    tensors = _frozen_tensors(base)
    for (name, tensor), content in zip(tensors.items(), _contents(tensors), strict=True):
        _update(digest, f"{name} {tensor.dtype} {tuple(tensor.shape)}", content)
    return digest.hexdigest()


def _update(digest: "hashlib.blake2b", what: str, content: bytes) -> None:
    """Add both, each with its length, so that no two different lists are the same bytes."""
    for part in (what.encode(), content):
        digest.update(len(part).to_bytes(8, "little") + part)


def _base_of(model: torch.nn.Module) -> torch.nn.Module:
    """The model under PEFT, torch.compile and data parallelism."""
    while True:
        if isinstance(model, PeftModel):
            model = model.get_base_model()
        elif isinstance(inner := getattr(model, "_orig_mod", None), torch.nn.Module):
            model = inner
        elif isinstance(model, torch.nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def _settings(base: torch.nn.Module) -> str:
    config = getattr(base, "config", None)
    return json.dumps(_lasting(json.loads(config.to_json_string(use_diff=False))) if config else None)


def _lasting(settings: Any) -> Any:
    """The settings in a fixed order, at every depth without those that say nothing of the values."""
    if isinstance(settings, dict):
        return {key: _lasting(settings[key]) for key in sorted(settings) if key not in _VOLATILE}
    return [_lasting(item) for item in settings] if isinstance(settings, list) else settings


def _frozen_tensors(base: torch.nn.Module) -> dict[str, Tensor]:
    """Weights and buffers by the names that they have without PEFT, sorted. Raises ValueError.

    The state dict has what belongs to a packed weight beside it; buffers that are not saved are not in it.
    """
    found: dict[str, Any] = {**dict(base.named_buffers(remove_duplicate=False)), **base.state_dict()}
    names = {name: _name_without_peft(base, name) for name in found}
    frozen = {plain: found[name] for name, plain in names.items() if plain is not None}
    for name, tensor in frozen.items():
        if not isinstance(tensor, Tensor) or tensor.is_meta or hasattr(tensor, "__tensor_flatten__"):
            where = "on the meta device" if getattr(tensor, "is_meta", False) else type(tensor).__name__
            raise ValueError(f"{name}: its content cannot be read ({where})")
    return {name: frozen[name].detach().as_subclass(Tensor) for name in sorted(frozen)}


def _name_without_peft(base: torch.nn.Module, name: str) -> str | None:
    """None for what belongs to an adapter: all of its layer but the layer that it wraps.

    By the modules' types, since a base may have a "lora_" in names of its own. What another kind of wrapper
    holds counts as the base's: at worst the cache is then not found again.
    """
    part: object = base
    plain = []
    for step in name.split("."):
        if isinstance(part, BaseTunerLayer):
            wrapped = "base_layer"
        else:
            wrapped = "original_module" if isinstance(part, ModulesToSaveWrapper) else ""
        if not wrapped:
            plain.append(step)
        elif step != wrapped:
            return None
        part = getattr(part, step, None)
    return ".".join(plain)


def _contents(tensors: dict[str, Tensor]) -> Iterator[bytes]:
    """Digests of each tensor's bytes, chunk by chunk. Tied weights are gone through once."""
    with ThreadPoolExecutor(min(_MOST_THREADS, len(os.sched_getaffinity(0)))) as pool:
        chunks: dict[tuple[Any, ...], list[Future[bytes]]] = {}
        for tensor in tensors.values():
            if _place(tensor) not in chunks:
                chunks[_place(tensor)] = [pool.submit(_chunk_digest, chunk) for chunk in _chunks(tensor)]
        for tensor in tensors.values():
            yield b"".join(chunk.result() for chunk in chunks[_place(tensor)])


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _chunks(tensor: Tensor) -> Iterator[Tensor]:
    """(bytes,) views of its memory."""
    content = tensor.contiguous().reshape(-1).view(torch.uint8)
    for start in range(0, len(content), _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES]


def _chunk_digest(chunk: Tensor) -> bytes:
    # Neither the copy from a GPU nor the hash holds up Python's other threads.
    return hashlib.blake2b(chunk.cpu().numpy().data, digest_size=_DIGEST_BYTES).digest()
