"""From hidden states to log-probabilities of given tokens, without holding the logits of all positions.

The logits of one position are as many numbers as the vocabulary has tokens, so they are made for a chunk of
positions at a time and dropped again.
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PretrainedConfig, PreTrainedModel

# Logits alive at a time: small enough for little memory, large enough for a fast matrix product.
CHUNK_BYTES = 64 << 20
CUDA_CHUNK_BYTES = 512 << 20

_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")


@dataclass(frozen=True)
class TokenScores:
    """Of each token: log-probability, entropy of its distribution (nats), and the mean of its logits.

    The latter two are nan where no gradient is asked for: they come with it.
    """

    logps: Tensor
    entropies: Tensor
    mean_logits: Tensor


@dataclass(frozen=True)
class Head:
    """A model's last projection and what its architecture does with the logits."""

    linear: torch.nn.Linear
    scale: float
    softcap: float | None

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Head":
        config = model.config.get_text_config()
        softcap = next((cap for name in _SOFTCAPS if (cap := getattr(config, name, None))), None)
        linear = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        # A quantized head is a subclass, or looks like one.
        return cls(
            cast(torch.nn.Linear, linear),
            logit_scale(config),
            softcap,
        )

    @property
    def is_plain(self) -> bool:
        """Whether it is a frozen matrix of floats: its gradient then needs no second look at the logits."""
        weight = self.linear.weight
        plain = type(self.linear) is torch.nn.Linear and weight.is_floating_point()
        return plain and not weight.requires_grad and self.softcap is None

    def logits(self, hidden: Tensor) -> Tensor:
        """(positions, vocabulary) in float32, as the architecture scales and caps them."""
        dtype = self.linear.weight.dtype
        # Packed weights are of whole numbers, and know themselves what they take.
        hidden = hidden.to(dtype) if dtype.is_floating_point else hidden
        logits: Tensor = self.linear(hidden).float() * self.scale
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits

    def score(self, hidden: Tensor, labels: Tensor) -> TokenScores:
        """Scores of `labels`, (positions,), given `hidden`, (positions, width)."""
        weight = self.linear.weight
        room = CUDA_CHUNK_BYTES if hidden.is_cuda else CHUNK_BYTES
        rows = max(16, room // (4 * self.linear.out_features))
        if self.is_plain:
            hidden = hidden.to(weight.dtype)
            bias = self.linear.bias
            made = _FrozenHead.apply(hidden, weight, bias, labels, self.scale, rows)  # type: ignore[no-untyped-call]
            return TokenScores(*made)
        parts = []
        for h, label in zip(torch.split(hidden, rows), torch.split(labels, rows), strict=True):
            parts.append(checkpoint(self._score_chunk, h, label, use_reentrant=False))
        return TokenScores(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _score_chunk(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.logits(hidden)
        every = logits.log_softmax(-1)
        with torch.no_grad():
            entropies = -(every.exp() * every).sum(-1)
            means = logits.mean(-1)
        return every.gather(1, labels[:, None])[:, 0], entropies, means


def logit_scale(config: PretrainedConfig) -> float:
    """What an architecture multiplies its logits with, by the names of transformers' configs; 1 for most."""
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if (factor := getattr(config, name, None)) is not None:
            return float(factor)
    divisor = getattr(config, "logits_scaling", None)
    if divisor is None:
        return 1.0
    return float(divisor) if config.model_type == "hyperclovax" else 1.0 / float(divisor)


class _FrozenHead(torch.autograd.Function):
    """Scores under a matrix that is not trained, and their gradient in the same sweep.

    d logp(y) / d h = scale · (W[y] − softmax(logits) W), which does not depend on what comes after. So it is
    computed where the logits are at hand; the backward pass multiplies. The product p W also gives the
    entropy, logsumexp − h · p W, for nothing.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        scale: float,
        rows: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = hidden.shape[0]
        logps = hidden.new_empty(count, dtype=torch.float32)
        entropies, slopes = torch.empty_like(logps), torch.empty_like(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, count, rows):
                part = slice(start, start + rows)
                logps[part], entropies[part], slopes[part] = _score_and_slope(
                    hidden[part], weight, bias, labels[part], scale, slope=ctx.needs_input_grad[0]
                )
            means = torch.full_like(logps, math.nan)
            if ctx.needs_input_grad[0]:
                means = _mean_logits(hidden, weight, bias) * scale
        ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(entropies, means)
        return logps, entropies, means

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return (slopes * grads[0][:, None]).to(slopes.dtype), None, None, None, None, None


def _score_and_slope(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, scale: float, *, slope: bool
) -> tuple[Tensor, Tensor | float, Tensor | float]:
    """(logps, entropies, d logps / d hidden) of one chunk; the latter two only with `slope`."""
    logits = torch.nn.functional.linear(hidden, weight, bias).float()
    if scale != 1.0:
        logits.mul_(scale)
    chosen = logits.gather(1, labels[:, None])[:, 0]
    peak = logits.amax(-1, keepdim=True)
    odds = logits.sub_(peak).exp_()  # in place: the logits are not needed again
    total = odds.sum(-1, keepdim=True)
    normalizer = (peak + total.log())[:, 0]
    if not slope:
        return chosen - normalizer, math.nan, 0.0
    mixed = (odds.to(weight.dtype) @ weight).float() / total
    expected = (hidden.float() * mixed).sum(-1) * scale
    if bias is not None:
        expected = expected + (odds @ bias.float()) / total[:, 0] * scale
    slopes = scale * (weight[labels].float() - mixed)
    return chosen - normalizer, normalizer - expected, slopes.to(hidden.dtype)


def _mean_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    mean = weight.mean(0, dtype=torch.float32)
    return hidden.float() @ mean + (bias.float().mean() if bias is not None else 0.0)
