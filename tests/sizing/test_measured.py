"""The plan against the peaks of real steps of the engine, as torch counted them on this CPU.

`python -m benchmarks.memory_plan` prints a wider table.
"""

import pytest

from tests.sizing.measuring import Case, case, measured_bytes, planned_bytes

# Where layers are computed again, peaks differ by a tenth from run to run.
AIM = {False: 0.1, True: 0.15}


@pytest.mark.parametrize(
    "tried",
    [
        case(),
        case(checkpointing=True),
        case(dtype="bfloat16"),
        case(dtype="bfloat16", checkpointing=True),
        case(quantization="nf4", dtype="bfloat16", checkpointing=True),
        case(accumulation=1),
        case(num_hidden_layers=8, hidden_size=64, intermediate_size=128, batch=2, checkpointing=True),
        case(intermediate_size=1024, rank=64, num_hidden_layers=2),
        case(vocab_size=16384, num_hidden_layers=2, checkpointing=True),
        case("qwen3", head_dim=32, tie_word_embeddings=True),
        case("mistral", sliding_window=64),
        case("gemma2", head_dim=32, sliding_window=4096),
        case(
            "mixtral", intermediate_size=256, num_local_experts=4, num_experts_per_tok=2, num_hidden_layers=2
        ),
        # Were the unpacked experts of all layers kept, this would take half as much again.
        case(
            "mixtral",
            quantization="nf4",
            intermediate_size=256,
            num_local_experts=16,
            num_experts_per_tok=1,
            num_hidden_layers=4,
            batch=2,
        ),
    ],
    ids=Case.describe,
)
def test_the_plan_is_what_a_step_takes(tried: Case) -> None:
    assert planned_bytes(tried) == pytest.approx(measured_bytes(tried), rel=AIM[tried.checkpointing])
