"""One forward pass that answers with log-probabilities of completions instead of logits."""

import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from kto_tui.training.batches import Sequences
from kto_tui.training.head import Head


@dataclass
class Scores(ModelOutput):
    """Of each row: its completion's log-probability (nats), sums of its tokens' entropies and mean logits.

    `logps`, `entropies`, `mean_logits`: (rows,). `first_hidden`: (rows, width), the hidden state from which
    the first completion token is told. `past_key_values`: what attention knows of the sequences, if asked.
    """

    logps: Tensor | None = None
    entropies: Tensor | None = None
    mean_logits: Tensor | None = None
    first_hidden: Tensor | None = None
    past_key_values: Any = None
    aux_loss: Tensor | None = None


@dataclass(frozen=True)
class Targets:
    """Which positions tell tokens to be scored.

    `mask`: (rows, positions) bool, position t is to tell `labels[t]`; `labels`: (rows, positions).
    """

    mask: Tensor
    labels: Tensor

    @classmethod
    def of_completions(cls, input_ids: Tensor, prompt_lengths: Tensor, lengths: Tensor) -> "Targets":
        """Each completion token of sequences padded on the right, told from the position before it."""
        positions = torch.arange(1, input_ids.shape[1], device=input_ids.device)
        mask = (positions >= prompt_lengths[:, None]) & (positions < lengths[:, None])
        # The last position has nothing to tell.
        return cls(torch.nn.functional.pad(mask, (0, 1)), input_ids.roll(-1, dims=1))


@dataclass(frozen=True)
class Scorer:
    """A model that scores completions.

    `model`: as it is called, in whatever wraps it (PEFT, mixed precision, DDP). `base`: the model inside, in
    which scoring is installed.
    """

    model: torch.nn.Module
    base: PreTrainedModel

    def score(self, sequences: Sequences, *, keep: bool = False, **inputs: Any) -> Scores:
        """Scores of the answers; with `keep`, what attention knows of the sequences comes along.

        Padding stands at the end, where causal attention never looks, so no mask is needed; without one
        attention takes its faster way.
        """
        ids = sequences.input_ids
        targets = Targets.of_completions(ids, sequences.prompt_lengths, sequences.lengths)
        scores = self.model(input_ids=ids, targets=targets, use_cache=keep, **inputs)
        assert isinstance(scores, Scores)
        return scores

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The model without dropout."""
        training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(training)


def has_dropout(model: torch.nn.Module) -> bool:
    """Whether a pass in training draws random numbers."""
    config = getattr(model, "config", None)
    attention = getattr(config.get_text_config(), "attention_dropout", 0.0) if config is not None else 0.0
    layers = (module.p for module in model.modules() if isinstance(module, torch.nn.Dropout))
    return bool(attention) or any(layers)


def experts(model: PreTrainedModel) -> int:
    """How many experts a mixture has in a layer; 0 for others."""
    config = model.config.get_text_config()
    counts = (getattr(config, name, None) for name in ("num_experts", "num_local_experts"))
    return next((int(count) for count in counts if count), 0)


def install_scoring(model: PreTrainedModel) -> None:
    """Have `model(..., targets=Targets)` return Scores; without `targets` all stays as it was.

    It sits in `forward`, so that whatever wraps the model (PEFT, autocast, DDP) works as for any call. TRL's
    `add_fused_lm_head` stands in the same place for the same reason; its CPU path computes the logits of
    all positions, the prompt's and the padding's too.
    """
    plain_forward = model.forward

    def forward(self: PreTrainedModel, *args: Any, targets: Targets | None = None, **kwargs: Any) -> Any:
        if targets is None:
            return plain_forward(*args, **kwargs)
        return _scored(self, targets, {k: v for k, v in kwargs.items() if v is not None})

    model.forward = types.MethodType(forward, model)


def _scored(model: PreTrainedModel, targets: Targets, inputs: dict[str, Any]) -> Scores:
    inputs.pop("return_dict", None)
    outputs = model.base_model(**inputs)
    hidden = outputs.last_hidden_state
    scores = Head.of(model).score(hidden[targets.mask], targets.labels[targets.mask])
    first = targets.mask.int().argmax(1)
    return Scores(
        logps=_row_sums(scores.logps, targets.mask),
        entropies=_row_sums(scores.entropies, targets.mask),
        mean_logits=_row_sums(scores.mean_logits, targets.mask),
        first_hidden=hidden[torch.arange(len(first), device=first.device), first],
        past_key_values=outputs.get("past_key_values"),
        aux_loss=_balance(model, outputs, inputs) if inputs.get("output_router_logits") else None,
    )


def _balance(model: PreTrainedModel, outputs: Any, inputs: dict[str, Any]) -> Tensor:
    """() how unevenly the experts of a mixture are used, as its architecture punishes it."""
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    config = model.config.get_text_config()
    loss = load_balancing_loss_func(
        outputs.router_logits, experts(model), config.num_experts_per_tok, inputs.get("attention_mask")
    )
    assert isinstance(loss, Tensor)
    return loss


def _row_sums(values: Tensor, mask: Tensor) -> Tensor:
    """(rows,) sums of `values`, which belong to the true places of `mask`, row by row.

    Over padded rows, since sums by scattering come out in another order at each run on a GPU.
    """
    return values.new_zeros(mask.shape).masked_scatter(mask, values).sum(1)
