"""How much memory the pass with gradient keeps for its way back."""

import torch
from torch import Tensor

from kto_tui.training.batches import Block, Sequences
from kto_tui.training.scoring import Scorer

_PROBE_TOKENS = (64, 128)


def needed_bytes(policy: Scorer, block: Block) -> int:
    """Bytes of the activations that a pass over `block` keeps, without gradient checkpointing.

    Measured, not computed: two short pieces of a row are passed through the model, and what autograd holds on
    to is counted. It grows with the tokens, padding included, and with their square where attention keeps its
    weights.
    """
    rows, width = block.own.input_ids.shape
    short, long = (min(width, tokens) for tokens in _PROBE_TOKENS)
    few, many = (kept_bytes(policy, _beginning(block, tokens)) for tokens in (short, long))
    if short == long:
        return many * rows
    squared = max(0.0, (many / long - few / short) / (long - short))
    linear = few / short - squared * short
    return int(rows * (linear * width + squared * width**2))


def _beginning(block: Block, tokens: int) -> Sequences:
    """The first tokens of the block's first row."""
    return Sequences(
        block.own.input_ids[:1, :tokens],
        block.own.prompt_lengths[:1].clamp(max=tokens - 1),
        block.own.lengths[:1].clamp(max=tokens),
    )


def kept_bytes(policy: Scorer, sequences: Sequences) -> int:
    """Bytes that autograd keeps of one pass over `sequences`, weights left out."""
    weights = {t.untyped_storage().data_ptr() for t in (*policy.model.parameters(), *policy.model.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    device = sequences.input_ids.device
    training = policy.model.training
    policy.model.train()
    try:
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.enable_grad(),
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        ):
            # Held until all is counted: else the next tensor might lie where one before it lay.
            scores = policy.score(sequences)
            total = sum(kept.values())
            del scores
    finally:
        policy.model.train(training)
    return total
