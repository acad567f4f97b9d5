"""The tokenizer that a model is trained with."""

import logging
from pathlib import Path

from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError, printable
from kto_tui.training.suitable import own_code
from kto_tui.training.templates import apply_template

logger = logging.getLogger(__name__)


def load_tokenizer(
    config: RunConfig, folder: Path, settings: PretrainedConfig | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer with a pad token, and with the chat template of `config`. Raises UserError.

    `settings`: the model's own, which tell how many tokens it knows, where they are at hand.
    """
    try:
        found = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ValueError as error:
        if "trust_remote_code" in str(error):
            raise UserError(own_code(str(config.model))) from None
        raise
    assert isinstance(found, PreTrainedTokenizerBase)
    vocabulary = getattr(settings.get_text_config(), "vocab_size", None) if settings else None
    ensure_pad_token(found, vocabulary)
    _warn_of_unknown_tokens(str(config.model), found, vocabulary)
    if config.chat_template is not None:
        apply_template(found, config.chat_template)
    return found


def ensure_pad_token(tokenizer: PreTrainedTokenizerBase, vocabulary: int | None = None) -> None:
    """Give a tokenizer without a pad token one that is no answer's end, if there is any.

    `vocabulary`: how many tokens the model knows; a pad token that was added later is none of them.
    Batches are masked by length, so even the end token as padding never hides a real end; nor does any
    other token, where there is no end token either.
    """
    known = vocabulary is None or (tokenizer.pad_token_id or 0) < vocabulary
    if tokenizer.pad_token is not None and known:
        return
    spare, end = tokenizer.unk_token, tokenizer.eos_token
    if spare and spare != end:
        tokenizer.pad_token = spare
    else:
        tokenizer.pad_token = end or tokenizer.convert_ids_to_tokens(0)


def _warn_of_unknown_tokens(name: str, tokenizer: PreTrainedTokenizerBase, vocabulary: int | None) -> None:
    beyond = [
        text for text, token in tokenizer.get_vocab().items() if token >= (vocabulary or len(tokenizer))
    ]
    if beyond:
        logger.warning(
            "--model %s: the tokenizer writes %d tokens that the model has no embedding for, such as %s; "
            "rows with them cannot be trained on",
            *(name, len(beyond), printable(beyond[0])),
        )
