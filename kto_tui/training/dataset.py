"""Rated rows as the token ids that are trained on, and the blocks that they are trained in.

A loop of ours instead of `datasets.map`: it reports how far it is, listens to requests, and counts.
"""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2.exceptions import TemplateError
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase
from trl.data_utils import common_prefix_length

from kto_tui.core.config import RunConfig
from kto_tui.core.errors import UserError
from kto_tui.core.schedule import needs_pairs
from kto_tui.data import Row
from kto_tui.training.blocks import drawn_order, plan_blocks
from kto_tui.training.split import held_out_prompts
from kto_tui.training.spool import RowSpool
from kto_tui.training.token_cache import TokenCache, tokens_key
from kto_tui.training.token_file import Tokenized, TokenizedRow
from kto_tui.training.tokens import TokenizedRows

PERCENTILES = (5, 50, 95)
_BATCH = 64  # Rows tokenized at once: a tenth of a second on one core, so that requests are heard.

Ids = list[int]
OnRow = Callable[[int, int], None]


@dataclass(frozen=True)
class Prepared:
    """Rows ready to train on, and what became of the others.

    `whole`: all of the rows given. `kept`: (rows,) which of those are in `rows`. `blocks`: the plan for the
    configured batch size, row numbers of `rows`. `groups`: (rows,) equal numbers for equal prompts. `shifted`
    counts rows whose prompt is tokenized otherwise once its answer follows. Percentiles are of the rows kept,
    before truncation, keyed p5, p50, p95.
    """

    rows: TokenizedRows
    whole: TokenizedRows
    kept: NDArray[np.int64]
    blocks: list[tuple[int, ...]]
    groups: NDArray[np.int64]
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


def split_rows(rows: Iterable[Row], fraction: float, seed: int) -> tuple[RowSpool, RowSpool]:
    """Rows to train on, and rows held out to be evaluated on, both in their order.

    Rows of one prompt stay together. Of either label as near to `fraction` is held out as that allows, and
    both sides get two rows at least, and both labels, if there is a way. Drawn from the seed. Raises
    UserError if there is none for the two rows.
    """
    rows = RowSpool.of(rows)
    groups = rows.groups
    counts = np.zeros((int(groups.max(initial=-1)) + 1, 2), dtype=np.int64)
    np.add.at(counts, (groups, rows.labels.astype(np.int64)), 1)
    out = held_out_prompts(counts, fraction, drawn_order(len(counts), seed))[groups]
    if min(np.count_nonzero(out), np.count_nonzero(~out)) < 2:
        raise UserError(
            f"--eval-fraction {fraction:g}: {len(rows)} rows with {len(counts)} different prompts cannot be "
            "parted so that training keeps both labels and evaluation gets two rows, those of one prompt on "
            "one side; add rows, or name others with --eval-dataset"
        )
    return rows.chosen(np.flatnonzero(~out)), rows.chosen(np.flatnonzero(out))


def prepare(
    rows: Iterable[Row],
    tokenizer: PreTrainedTokenizerBase,
    config: RunConfig,
    on_row: OnRow,
    *,
    source: str | None = None,
    cache: TokenCache | None = None,
) -> Prepared:
    """Tokenize, drop what cannot be learned from, and plan the blocks.

    A row is dropped when its prompt alone fills max_length. `on_row(done, total)` is called for every row,
    or once where `cache` knows them. Raises UserError when no row of one label is left; rows of another
    `source` than the training data are only evaluated on, and may be of one label.
    """
    rows = RowSpool.of(rows)
    whole = _tokenized(rows, tokenizer, on_row, cache)
    kept = np.flatnonzero(whole.rows.prompt_lengths < config.max_length)
    tokens = whole.rows if len(kept) == len(rows) else whole.rows.subset(kept)
    desirable = int(np.count_nonzero(tokens.desirable))
    if source in (None, config.dataset):
        _require_both_labels(rows, desirable, len(kept) - desirable, config)
    elif len(kept) < (2 if needs_pairs(config) else 1):
        raise UserError(
            f"{source}: {len(kept) or 'none'} of its {len(rows)} rows can be evaluated on, and each needs "
            f"another one's answer; raise --max-length {config.max_length}, which prompts fill, or add rows"
        )
    groups = rows.chosen(kept).groups
    return Prepared(
        rows=tokens,
        whole=whole.rows,
        kept=kept,
        blocks=planned_blocks(tokens, groups, config, config.batch_size),
        groups=groups,
        desirable=desirable,
        undesirable=len(kept) - desirable,
        dropped=len(rows) - len(kept),
        truncated=int(np.count_nonzero(tokens.sizes > config.max_length)),
        shifted=int(np.count_nonzero(whole.shifted[kept])),
        prompt_tokens=_percentiles(tokens.prompt_lengths),
        completion_tokens=_percentiles(tokens.completion_lengths),
    )


def fingerprint(prepared: Prepared) -> str:
    """A name of the rows as tokens, their labels and their blocks: equal where training goes on alike."""
    digest = hashlib.sha256()
    rows = prepared.rows
    for row in range(len(rows)):
        digest.update(rows.row(row).data)
    ends = np.concatenate(([0], np.cumsum(rows.sizes, dtype=np.int64)))
    sizes = np.array([len(block) for block in prepared.blocks], dtype=np.int64)
    order = np.array([row for block in prepared.blocks for row in block], dtype=np.int64)
    for values in (ends, rows.prompt_lengths, rows.desirable, sizes, order):
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def planned_blocks(
    rows: TokenizedRows, groups: NDArray[np.int64], config: RunConfig, block_size: int
) -> list[tuple[int, ...]]:
    """The block plan of the rows as this run trains on them, for any block size."""
    return plan_blocks(
        rows.lengths(config.max_length),
        rows.desirable,
        block_size,
        paired=needs_pairs(config),
        groups=groups,
        prompt_lengths=rows.prompt_lengths,
    )


def _tokenized(
    rows: RowSpool, tokenizer: PreTrainedTokenizerBase, on_row: OnRow, cache: TokenCache | None
) -> Tokenized:
    key = tokens_key(rows.lines(), tokenizer) if cache else None
    if cache is None or key is None:
        return Tokenized.of(_tokenize(rows, tokenizer, on_row))
    if (found := cache.get(key)) is not None:
        on_row(len(rows), len(rows))
        return found
    kept = cache.fill(key, _tokenize(rows, tokenizer, on_row))
    return kept or Tokenized.of(_tokenize(rows, tokenizer, on_row))


def _tokenize(rows: RowSpool, tokenizer: PreTrainedTokenizerBase, on_row: OnRow) -> Iterator[TokenizedRow]:
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        with _all_cores():
            tokenized = tokenize_rows(batch, tokenizer)
        for done, (row, (prompt, completion, shifted)) in enumerate(
            zip(batch, tokenized, strict=True), start + 1
        ):
            yield prompt, completion, row.label, shifted
            on_row(done, len(rows))


@contextmanager
def _all_cores() -> Iterator[None]:
    """Let the tokenizers library use them; elsewhere it is told not to, for the sake of forked processes."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


def tokenize_rows(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[tuple[Ids, Ids, bool]]:
    """For each row (prompt ids, completion ids, whether the prompt's ids changed once the answer followed).

    Both are tokenized together, since tokens may merge where they meet; the answer begins where the
    prompt's own ids end to agree, as in TRL. Raises UserError that names the row.
    """
    tokenized = []
    for is_text, run in itertools.groupby(rows, key=lambda row: isinstance(row.prompt, str)):
        encode = _text_ids if is_text else _conversation_ids
        for alone, whole in encode(list(run), tokenizer):
            length = common_prefix_length(alone, whole)
            tokenized.append((whole[:length], whole[length:], length < len(alone)))
    return tokenized


def tokenize_row(row: Row, tokenizer: PreTrainedTokenizerBase) -> tuple[Ids, Ids, bool]:
    """One row as tokenize_rows does it."""
    return tokenize_rows([row], tokenizer)[0]


def _text_ids(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[tuple[Ids, Ids]]:
    """For each row the ids of its prompt, and of its prompt and answer."""
    end = tokenizer.eos_token or ""
    prompts = [str(row.prompt) for row in rows]
    answers = [str(row.completion) for row in rows]
    whole = [
        prompt + (answer if answer.endswith(end) else answer + end)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    ids = _encoded([*prompts, *whole], tokenizer, add_special_tokens=True)
    return list(zip(ids[: len(rows)], ids[len(rows) :], strict=True))


def _encoded(texts: list[str], tokenizer: PreTrainedTokenizerBase, *, add_special_tokens: bool) -> list[Ids]:
    """The ids of each text, each different text encoded once.

    Asked of the tokenizers library itself where there is one below: transformers would have it work out
    where in the text each token lies, and build objects of that, which takes longer than the ids.
    """
    different = list(dict.fromkeys(texts))
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        ids = tokenizer(text=different, add_special_tokens=add_special_tokens)["input_ids"]
    else:
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = bool(getattr(tokenizer, "split_special_tokens", False))
        found = backend.encode_batch_fast(different, add_special_tokens=add_special_tokens)
        ids = [encoding.ids for encoding in found]
    by_text = dict(zip(different, ids, strict=True))
    return [by_text[text] for text in texts]


def _conversation_ids(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase) -> list[tuple[Ids, Ids]]:
    """For each row the ids of its prompt, and of its prompt and answer."""
    if not tokenizer.chat_template:
        raise UserError(
            f"{rows[0].where}: the row is a conversation, but the model's tokenizer has no chat template; "
            "choose a chat model, or give prompt and completion as text"
        )
    try:
        texts = [
            *_rendered([row.prompt for row in rows], rows, tokenizer, add_generation_prompt=True),
            *_rendered([[*row.prompt, *row.completion] for row in rows], rows, tokenizer),
        ]
    except TemplateError as error:
        if len(rows) > 1:
            return [pair for row in rows for pair in _conversation_ids([row], tokenizer)]
        raise UserError(
            f"{rows[0].where}: the model's chat template does not take this conversation ({error}); "
            "check the roles and their order"
        ) from error
    # The template writes all special tokens itself.
    ids = _encoded(texts, tokenizer, add_special_tokens=False)
    return list(zip(ids[: len(rows)], ids[len(rows) :], strict=True))


def _rendered(
    conversations: list[Any], rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, **options: Any
) -> list[str]:
    """Each conversation as the chat template writes it, with the tools of its row."""
    if not any(row.tools for row in rows):
        texts: Any = tokenizer.apply_chat_template(conversations, tokenize=False, **options)
        return list(texts)
    return [
        str(tokenizer.apply_chat_template(conversation, tools=_tools(row), tokenize=False, **options))
        for conversation, row in zip(conversations, rows, strict=True)
    ]


def _tools(row: Row) -> list[Any] | None:
    return list(row.tools) if row.tools else None


def _require_both_labels(rows: RowSpool, desirable: int, undesirable: int, config: RunConfig) -> None:
    for label, left in ((True, desirable), (False, undesirable)):
        if left == 0:
            name = "desirable" if label else "undesirable"
            had = int(np.count_nonzero(rows.labels == label))
            raise UserError(
                f"{config.dataset}: none of its {had} {name} rows can be trained on; their prompts fill "
                f"--max-length {config.max_length} or no partner is left; raise --max-length or add rows"
            )


def _percentiles(lengths: NDArray[Any]) -> dict[str, float]:
    return {f"p{p}": float(np.percentile(lengths, p)) for p in PERCENTILES}
