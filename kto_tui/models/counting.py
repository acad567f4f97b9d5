"""Tokens of text by a model's own tokenizer, where its file is at hand, without transformers."""

from collections.abc import Iterable
from pathlib import Path

from kto_tui.core.config import TINY_MODEL
from kto_tui.core.counts import Sample
from kto_tui.core.errors import UserError
from kto_tui.models.chain import follow
from kto_tui.models.hub import cached_model

_FILE = "tokenizer.json"


def tokens_a_byte(model: str, revision: str | None, samples: Iterable[Sample]) -> float | None:
    """The most tokens that a byte of a sample comes to; None where no tokenizer is at hand that tells it.

    Nothing is asked of the hub.
    """
    if model == TINY_MODEL:
        return 1.0  # It spells.
    try:
        file = _tokenizer_file(model, revision)
    except UserError:  # Whoever loads the model says what is wrong with it.
        return None
    texts = [sample.prompt + sample.answer for sample in samples]
    if file is None or not any(texts):
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        found = tokenizer.encode_batch(texts, add_special_tokens=False)
    except Exception:  # noqa: BLE001  The library has no narrower one; it is told when the model is loaded.
        return None
    return max(len(each) / len(text.encode()) for each, text in zip(found, texts, strict=True) if text)


def _tokenizer_file(model: str, revision: str | None) -> Path | None:
    """Of the adapter that is trained on, else of the base. Raises UserError."""
    chain = follow(model, revision)
    base = chain.path or cached_model(chain.name, chain.revision)
    folders = [*chain.adapters, *([base] if base else [])]
    return next((folder / _FILE for folder in folders if (folder / _FILE).is_file()), None)
