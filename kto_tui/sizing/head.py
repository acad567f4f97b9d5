"""What the last projection takes, whose logits training/head.py makes for a chunk of positions at a time."""

from kto_tui.sizing.activations import FLOAT32, Numbers
from kto_tui.sizing.shape import ModelShape

# Logits in float32 that are alive at a time, in bytes.
CHUNK_BYTES = {"cpu": 64 << 20, "cuda": 512 << 20}
_LEAST_ROWS = 16


def chunk_rows(vocabulary: int, positions: int, device: str) -> int:
    """Positions whose logits are made at once."""
    return min(positions, max(_LEAST_ROWS, CHUNK_BYTES[device] // (FLOAT32 * vocabulary)))


def head_bytes(shape: ModelShape, positions: int, device: str, numbers: Numbers) -> tuple[int, int]:
    """(logits, hidden states) in bytes while the head works on answers of so many positions."""
    rows = chunk_rows(shape.vocabulary, positions, device)
    size, narrow = numbers.compute, numbers.compute if numbers.mixed else 0
    chosen = positions * shape.hidden * size
    if shape.softcapped:
        # Capped and normalized anew in the backward pass: five tables of them at a time.
        return rows * shape.vocabulary * (5 * FLOAT32 + narrow), chosen
    logits = rows * shape.vocabulary * (FLOAT32 + narrow)
    if device == "cpu" and numbers.mixed:
        # A CPU takes the mean of a narrow matrix by way of a copy in float32.
        logits = max(logits, shape.vocabulary * shape.hidden * FLOAT32)
    slopes = rows * shape.hidden * 3 * FLOAT32
    # Chosen states, and how the answers' log-probabilities change with them.
    return logits, 2 * chosen + slopes
