"""How much memory the pass with gradient keeps for its way back."""

import torch
from torch import Tensor

from kto_tui.training.batches import Block, Sequences
from kto_tui.training.scoring import Scorer

_PROBE_TOKENS = 64


def needed_bytes(policy: Scorer, block: Block) -> int:
    """Bytes of the activations that a pass over `block` keeps, without gradient checkpointing.

    Measured, not computed: a short piece of the block is passed through the model, and what autograd holds on
    to is counted. All of it grows with the tokens, padding included.
    """
    width = min(block.own.input_ids.shape[1], _PROBE_TOKENS)
    probe = Sequences(
        block.own.input_ids[:1, :width],
        block.own.prompt_lengths[:1].clamp(max=width - 1),
        block.own.lengths[:1].clamp(max=width),
    )
    return kept_bytes(policy, probe) // width * block.own.input_ids.numel()


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
