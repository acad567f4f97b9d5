"""Whether a model is of the kind that is trained here: found out by its settings, then by trying it."""

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from kto_tui.core.errors import UserError, printable
from kto_tui.training.head import Head

_TEXT = "Once there was a model that was tried out before it was trained."
_MOST_TOKENS = 16
# Shares of the logits' spread by which two ways to the same may differ: rounding, no more.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.03}
_WIDEST = 0.1


def check_kind(name: str, config: PretrainedConfig) -> None:
    """Refuse what is no causal language model, by its settings. Raises UserError."""
    kind = printable(str(config.model_type))
    if config.is_encoder_decoder:
        raise UserError(
            f"--model {name}: an encoder-decoder ({kind}); expected a model that continues a text (causal)"
        )
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return
    text = config.get_text_config()
    if text is not config:
        raise UserError(
            f"--model {name}: reads more than text ({kind}), and transformers has no way to load its text "
            "part alone; expected a causal language model"
        )
    raise UserError(f"--model {name}: {kind} is no causal language model (one that continues a text)")


def settings_of(name: str, folder: str) -> PretrainedConfig:
    """The settings of the model in `folder`. Raises UserError for one that brings its own code."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ValueError as error:
        if "trust_remote_code" in str(error):
            raise UserError(own_code(name)) from None
        raise
    assert isinstance(config, PretrainedConfig)
    return config


def own_code(name: str) -> str:
    """What to say of a model that transformers knows only through code in the model's own folder."""
    return (
        f"--model {name}: it needs code from its own folder (auto_map in its settings), which is never run"
        " here; choose a model that transformers knows by itself"
    )


@torch.no_grad()
def check_by_trying(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Pass a short text through the model. Raises UserError if training could not go right.

    Its logits have to be finite, must not depend on what comes later, and have to be those that our own way
    from hidden states to log-probabilities gives: then an architecture that does something of its own with
    its logits is refused, and not trained wrongly.
    """
    ids, kind = _some_ids(model, tokenizer), printable(str(model.config.model_type))
    logits = model(input_ids=ids, use_cache=False).logits[0].float()
    if not bool(logits.isfinite().all()):
        dtype = str(model.dtype).removeprefix("torch.")
        raise UserError(
            f"--model {name}: it gives no finite numbers in {dtype}; try another --dtype, or get its files "
            "anew"
        )
    later = ids.clone()
    later[0, -1] = ids[0, 0]
    changed = model(input_ids=later, use_cache=False).logits[0].float()
    # In 8 bits a large number in one token has others rounded otherwise, which says nothing of attention; and
    # rounding may send a token or two to another expert. A model that looks ahead does so everywhere.
    rounds_together = getattr(model, "is_loaded_in_8bit", False)
    if not rounds_together and _apart(logits[:-1], changed[:-1], model.dtype).float().mean() > 0.5:
        raise UserError(
            f"--model {name}: what it says of a token depends on later ones ({kind}); expected a causal "
            "language model"
        )
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
    if bool(_apart(logits, Head.of(model).logits(hidden), model.dtype).any()):
        raise UserError(
            f"--model {name}: {kind} makes its logits in a way that is not known here, so they would come "
            "out wrong; choose another model"
        )


def _some_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """(1, tokens) of a text; two at least, and different at both ends."""
    ids = tokenizer(_TEXT, add_special_tokens=False)["input_ids"][:_MOST_TOKENS]
    if len(ids) < 2 or ids[0] == ids[-1]:
        ids = list(range(min(_MOST_TOKENS, len(tokenizer))))
    return torch.tensor([ids], device=model.device)


def _apart(one: Tensor, other: Tensor, dtype: torch.dtype) -> Tensor:
    """(positions,) bool: where logits, (positions, vocabulary), differ by more than rounding."""
    spread = one.std() + one.abs().mean() * 1e-3
    return (one - other).abs().amax(-1) > _TOLERANCE.get(dtype, _WIDEST) * spread
