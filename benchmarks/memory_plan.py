"""The memory plan against measured peaks, over models of all kinds: `python -m benchmarks.memory_plan`.

On a CPU, two steps each, as torch's allocator counts them. Takes three minutes.
"""

import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

from tests.sizing.measuring import Case, case, measured_bytes, planned_bytes

_MIB = 1 << 20
_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 64},
    "qwen2": {},
    "qwen3": {"head_dim": 32},
    "gemma": {"head_dim": 32},
    "gemma2": {"head_dim": 32, "sliding_window": 4096},
    "gemma3_text": {"head_dim": 32, "sliding_window": 64},
    "phi": {},
    "phi3": {},
    "olmo2": {},
    "smollm3": {},
    "gpt_oss": {"head_dim": 32, "sliding_window": 4096, "num_local_experts": 4, "num_experts_per_tok": 2},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"head_dim": 32, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64},
}
_BLOCKS: tuple[dict[str, Any], ...] = (
    {"accumulation": 1},
    {"accumulation": 1, "prompt": 224, "answer": 32},
    {"batch": 2, "prompt": 256, "answer": 256, "hidden_size": 64, "intermediate_size": 128},
    {"batch": 2, "num_hidden_layers": 10},
    {"rank": 64, "intermediate_size": 1024},
    {"vocab_size": 16384, "num_hidden_layers": 2},
    {"vocab_size": 32768, "num_hidden_layers": 2, "batch": 2, "answer": 16},
)


def cases() -> Iterator[Case]:
    for kept in (False, True):
        for dtype in ("float32", "bfloat16"):
            for family, changes in _FAMILIES.items():
                yield case(family, dtype=dtype, checkpointing=kept, **changes)
            for block in _BLOCKS:
                yield case(dtype=dtype, checkpointing=kept, **block)
        yield case(quantization="nf4", dtype="bfloat16", checkpointing=kept)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    begun, ratios = time.perf_counter(), []
    print("plan MiB  measured  ratio")
    for tried in cases():
        planned, measured = planned_bytes(tried), measured_bytes(tried)
        ratios.append(planned / measured)
        print(
            f"{planned / _MIB:8.1f}  {measured / _MIB:8.1f}  {ratios[-1]:5.2f}  {tried.describe()}",
            flush=True,
        )
    near = sum(abs(ratio - 1) <= 0.1 for ratio in ratios)
    print(
        f"{len(ratios)} cases in {time.perf_counter() - begun:.0f} s: {near} within 10%, "
        f"the ratios from {min(ratios):.2f} to {max(ratios):.2f}"
    )


if __name__ == "__main__":
    main()
