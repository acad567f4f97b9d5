"""Scoring a second answer to prompts whose keys and values are at hand from the first.

A mismatched pair has the prompt of a row that is passed through the model anyway. What attention keeps of
that prompt is the same in both, so only the second answer's tokens have to be computed.
"""

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from kto_tui.training.batches import Sequences
from kto_tui.training.grouping import alike, in_order
from kto_tui.training.head import Head
from kto_tui.training.scoring import Scorer, Scores, Targets

# Nats a token by which the shared way may differ from the plain one: rounding, no more. Of single rows, and
# of all their tokens together, where rounding cancels out and a mistake does not.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.02, torch.bfloat16: 0.1}
POOLED_TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-3, torch.bfloat16: 5e-3}

_STRETCHED = ("longrope", "dynamic")


def can_share(model: PreTrainedModel, max_length: int) -> bool:
    """Whether attention is of the kind that takes this: full, causal, and masked as we say."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    windowed = window is not None and window < max_length and getattr(config, "use_sliding_window", True)
    masked_as_given = config._attn_implementation == "sdpa" and not getattr(config, "alibi", False)
    return masked_as_given and not windowed and not _changes_positions(config, max_length)


def _changes_positions(config: PretrainedConfig, max_length: int) -> bool:
    """Whether a token's place is coded otherwise in a longer sequence, and keys of a shorter one are void."""
    rope = getattr(config, "rope_parameters", None) or {}
    trained = rope.get("original_max_position_embeddings")
    trained = trained or getattr(config, "original_max_position_embeddings", None) or 0
    return rope.get("rope_type") in _STRETCHED and max_length > trained


def follow_on(scorer: Scorer, second: Sequences, first: Scores) -> Tensor | None:
    """(rows,) log-probabilities of the answers in `second`, without gradient; None where it cannot be done.

    `first`: scores of the same prompts with answers of their own, of the same scorer, made with `keep`.
    """
    cache = first.past_key_values
    layers = getattr(cache, "layers", ())
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        return None
    assert first.first_hidden is not None
    answers = second.input_ids.gather(1, second.prompt_lengths[:, None])[:, 0]
    left = second.lengths - second.prompt_lengths - 1
    with torch.no_grad():
        told = Head.of(scorer.base).score(first.first_hidden.detach(), answers).logps
        groups = alike(left, len(second))
        rest = [_rest(scorer, second.take(group), _of_rows(cache, group, second)) for group in groups]
    # Without a prompt nothing tells the first token, in the plain way neither.
    return told * (second.prompt_lengths > 0) + in_order(rest, groups)


def _rest(scorer: Scorer, second: Sequences, cache: DynamicCache) -> Tensor:
    """(rows,) log-probabilities of all but the first token of each answer."""
    steps = int((second.lengths - second.prompt_lengths).max()) - 1
    if steps == 0:
        return torch.zeros(len(second), device=second.lengths.device)
    scores = scorer.model(**_continuation(second, cache, steps), use_cache=True)
    assert isinstance(scores.logps, Tensor)
    return scores.logps


def _continuation(second: Sequences, cache: DynamicCache, steps: int) -> dict[str, object]:
    """The model's inputs for all but the last token of each answer, after prompts that are known."""
    prompts, ids = second.prompt_lengths[:, None], second.input_ids
    offsets = torch.arange(steps, device=ids.device)
    places = prompts + offsets
    longest = int(second.prompt_lengths.max())
    known = torch.arange(longest, device=ids.device) < prompts
    mask = torch.cat(
        [
            known[:, None, None, :].expand(-1, 1, steps, -1),
            (offsets <= offsets[:, None]).expand(len(second), 1, -1, -1),
        ],
        dim=-1,
    )
    last = ids.shape[1] - 1
    return {
        "input_ids": ids.gather(1, places.clamp(max=last)),
        "position_ids": places,
        "attention_mask": mask,
        "past_key_values": cache,
        "targets": Targets(places + 1 < second.lengths[:, None], ids.gather(1, (places + 1).clamp(max=last))),
    }


def _of_rows(cache: DynamicCache, rows: Tensor, second: Sequences) -> DynamicCache:
    """The keys and values of these rows' prompts, cut off from gradients."""
    kept, longest = DynamicCache(), int(second.prompt_lengths[rows].max())
    for index, layer in enumerate(cache.layers):
        assert isinstance(layer, DynamicLayer)
        assert layer.keys is not None
        assert layer.values is not None
        keys, values = (known.detach()[rows, :, :longest] for known in (layer.keys, layer.values))
        kept.update(keys, values, index)
    return kept


def agree(shared: Tensor, plain: Tensor, sequences: Sequences, dtype: torch.dtype) -> bool:
    """Whether both ways told the same, up to rounding."""
    tokens = (sequences.lengths - sequences.prompt_lengths).clamp(min=1)
    apart = shared - plain
    pooled = apart.sum().abs() / tokens.sum() <= POOLED_TOLERANCE[dtype]
    return bool(pooled and (apart.abs() / tokens <= TOLERANCE[dtype]).all())
