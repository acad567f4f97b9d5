"""Rated rows as the token ids that are trained on. What TRL's own preparation does, row by row.

A loop of ours instead of `datasets.map`: it reports how far it is, listens to requests, and counts.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase
from trl.data_utils import common_prefix_length

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.data import Columns, Row, load_rows

PERCENTILES = (5, 50, 95)


@dataclass(frozen=True)
class Prepared:
    """Rows ready to train on, and what became of the others.

    `dataset` has prompt_ids, completion_ids, label, and KL_completion_ids where the loss needs them.
    `shifted` counts rows whose prompt is tokenized otherwise once its answer follows.
    Percentiles are of the rows kept, before truncation, keyed p5, p50, p95.
    """

    dataset: Dataset
    desirable: int
    undesirable: int
    dropped: int
    truncated: int
    shifted: int
    prompt_tokens: Mapping[str, float]
    completion_tokens: Mapping[str, float]

    @property
    def examples(self) -> int:
        return self.desirable + self.undesirable


def read_rows(config: RunConfig, source: str) -> list[Row]:
    """All rows of a data set in an order drawn once from the seed: files often hold runs of one label."""
    columns = Columns(config.prompt_column, config.completion_column, config.label_column)
    rows = list(load_rows(source, columns))
    random.Random(config.seed).shuffle(rows)
    return rows


def prepare(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    config: RunConfig,
    on_row: Callable[[int, int], None],
    *,
    source: str | None = None,
) -> Prepared:
    """Tokenize, drop what cannot be learned from, and pair answers for the KL term.

    A row is dropped when its prompt alone fills max_length, and when it would be left alone in the last
    block, where it could only be paired with itself. `on_row(done, total)` is called for every row.
    Raises UserError when no row of one label is left; rows of another `source` than the training data
    are only evaluated on, and may be of one label.
    """
    kept: list[tuple[list[int], list[int], bool]] = []
    shifted = 0
    for done, row in enumerate(rows, start=1):
        prompt, completion, moved = tokenize_row(row, tokenizer)
        if len(prompt) < config.max_length:
            kept.append((prompt, completion, row.label))
            shifted += moved
        on_row(done, len(rows))
    paired = config.loss_type != "apo_zero_unpaired"
    if paired and len(kept) % config.batch_size == 1:
        kept.pop()
    desirable = sum(label for *_, label in kept)
    if source in (None, config.dataset):
        _require_both_labels(rows, desirable, len(kept) - desirable, config)
    elif not kept:
        raise UserError(
            f"{source}: none of its {len(rows)} rows can be evaluated on; their prompts fill "
            f"--max-length {config.max_length} or no partner is left; raise --max-length or add rows"
        )
    return Prepared(
        dataset=Dataset.from_dict(_columns(kept, config.batch_size if paired else None)),
        desirable=desirable,
        undesirable=len(kept) - desirable,
        dropped=len(rows) - len(kept),
        truncated=sum(len(prompt) + len(answer) > config.max_length for prompt, answer, _ in kept),
        shifted=shifted,
        prompt_tokens=_percentiles([len(prompt) for prompt, *_ in kept]),
        completion_tokens=_percentiles([len(answer) for _, answer, _ in kept]),
    )


def tokenize_row(row: Row, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int], bool]:
    """(prompt ids, completion ids, whether the prompt's ids changed once the answer followed).

    Both are tokenized together, since tokens may merge where they meet; the answer begins where the
    prompt's own ids end to agree, as in TRL.
    """
    if isinstance(row.prompt, str):
        alone, whole = _text_ids(row, tokenizer)
    else:
        alone, whole = _conversation_ids(row, tokenizer)
    length = common_prefix_length(alone, whole)
    return whole[:length], whole[length:], length < len(alone)


def _text_ids(row: Row, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    assert isinstance(row.prompt, str)
    assert isinstance(row.completion, str)
    end = tokenizer.eos_token or ""
    answer = row.completion if row.completion.endswith(end) else row.completion + end
    return _ids(tokenizer(text=row.prompt)), _ids(tokenizer(text=row.prompt + answer))


def _conversation_ids(row: Row, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    assert isinstance(row.prompt, list)
    assert isinstance(row.completion, list)
    if not tokenizer.chat_template:
        raise UserError(
            f"{row.where}: the row is a conversation, but the model's tokenizer has no chat template; "
            "choose a chat model, or give prompt and completion as text"
        )
    try:
        alone = tokenizer.apply_chat_template(
            row.prompt, tokenize=True, return_dict=True, add_generation_prompt=True
        )
        whole = tokenizer.apply_chat_template(row.prompt + row.completion, tokenize=True, return_dict=True)
    except TemplateError as error:
        raise UserError(
            f"{row.where}: the model's chat template does not take this conversation ({error}); "
            "check the roles and their order"
        ) from error
    return _ids(alone), _ids(whole)


def _ids(encoded: Any) -> list[int]:
    return list(encoded["input_ids"])


def _require_both_labels(rows: Sequence[Row], desirable: int, undesirable: int, config: RunConfig) -> None:
    for label, left in ((True, desirable), (False, undesirable)):
        if left == 0:
            name = "desirable" if label else "undesirable"
            had = sum(row.label is label for row in rows)
            raise UserError(
                f"{config.dataset}: none of its {had} {name} rows can be trained on; their prompts fill "
                f"--max-length {config.max_length} or no partner is left; raise --max-length or add rows"
            )


def _columns(kept: Sequence[tuple[list[int], list[int], bool]], block: int | None) -> dict[str, list[Any]]:
    answers = [answer for _, answer, _ in kept]
    columns: dict[str, list[Any]] = {
        "prompt_ids": [prompt for prompt, *_ in kept],
        "completion_ids": answers,
        "label": [label for *_, label in kept],
    }
    if block:
        columns["KL_completion_ids"] = mismatched(answers, block)
    return columns


def mismatched(answers: Sequence[list[int]], block: int) -> list[list[int]]:
    """Each row's answer for the KL term: in every block of one batch, the answer of the row before it."""
    blocks = [list(answers[start : start + block]) for start in range(0, len(answers), block)]
    return [answer for rows in blocks for answer in (rows[-1:] + rows[:-1])]


def _percentiles(lengths: Sequence[int]) -> dict[str, float]:
    return {f"p{p}": float(np.percentile(lengths, p)) for p in PERCENTILES}
