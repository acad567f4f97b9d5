from pathlib import Path
from typing import Any

import msgspec
import pytest
from transformers import PreTrainedTokenizerFast

from kto_tui.core.config import SAMPLE_DATASET, RunConfig
from kto_tui.core.errors import UserError
from kto_tui.data import Row
from kto_tui.training.dataset import mismatched, prepare, read_rows, tokenize_row
from kto_tui.training.model import ensure_pad_token
from kto_tui.training.tiny import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


def row(prompt: str, completion: str, label: bool) -> Row:
    return Row(prompt, completion, label, "rows.jsonl, row 1")


def config(**changes: Any) -> RunConfig:
    return msgspec.convert({"dataset": "rows.jsonl", "batch_size": 2, **changes}, RunConfig)


def nothing(done: int, total: int) -> None: ...


def test_text_ends_with_one_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    _, plain, _ = tokenize_row(row("Hi ", "yes", True), tokenizer)
    _, ended, _ = tokenize_row(row("Hi ", "yes<|end|>", True), tokenizer)
    assert plain == ended
    assert plain.count(tokenizer.eos_token_id) == 1


def test_rows_are_counted_as_they_are_dropped_and_cut(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [
        row("a" * 4, "b" * 3, True),
        row("a" * 4, "b" * 30, False),
        row("a" * 12, "b", True),
        row("a" * 11, "b", False),
        row("a" * 2, "b", True),
    ]
    seen: list[tuple[int, int]] = []
    prepared = prepare(rows, tokenizer, config(max_length=12), lambda *reading: seen.append(reading))
    assert (prepared.desirable, prepared.undesirable, prepared.examples) == (2, 2, 4)
    assert (prepared.dropped, prepared.truncated, prepared.shifted) == (1, 2, 0)
    assert seen[-1] == (5, 5)
    assert prepared.prompt_tokens["p50"] == 4
    assert len(prepared.dataset) == 4


def test_mismatched_answers_stay_inside_their_block() -> None:
    assert mismatched([[1], [2], [3], [4], [5]], 2) == [[2], [1], [4], [3], [5]]


def test_a_lone_last_row_stays_where_no_pairs_are_needed(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [row("a", "b", bool(n % 2)) for n in range(5)]
    assert prepare(rows, tokenizer, config(), nothing).examples == 4
    alone = prepare(rows, tokenizer, config(loss_type="apo_zero_unpaired"), nothing)
    assert alone.examples == 5
    assert "KL_completion_ids" not in alone.dataset.column_names


def test_a_label_without_a_usable_row_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [row("a", "b", True), row("a", "b", True), row("a" * 20, "b", False)]
    with pytest.raises(UserError, match="none of its 1 undesirable rows"):
        prepare(rows, tokenizer, config(max_length=16), nothing)


def test_the_order_is_drawn_from_the_seed_alone() -> None:
    first = read_rows(config(seed=1), SAMPLE_DATASET)
    assert first == read_rows(config(seed=1), SAMPLE_DATASET)
    assert first != read_rows(config(seed=2), SAMPLE_DATASET)


def test_a_template_that_refuses_names_the_row(tokenizer: PreTrainedTokenizerFast) -> None:
    strict = build_tokenizer()
    strict.chat_template = "{{ raise_exception('roles must alternate') }}"
    messages = [{"role": "user", "content": "Hi"}]
    refused = Row(messages, [{"role": "assistant", "content": "Hello"}], True, "rows.jsonl, row 3")
    with pytest.raises(UserError, match=r"rows.jsonl, row 3: .*roles must alternate"):
        tokenize_row(refused, strict)


@pytest.mark.parametrize(("unknown", "wanted"), [("<|pad|>", "<|pad|>"), (None, "<|end|>")])
def test_a_missing_pad_token_is_made_up(unknown: str | None, wanted: str) -> None:
    bare = build_tokenizer()
    bare.pad_token = None
    bare.unk_token = unknown
    ensure_pad_token(bare)
    assert bare.pad_token == wanted


def test_a_tokenizer_without_any_special_token_pads_too() -> None:
    bare = build_tokenizer()
    bare.pad_token = bare.unk_token = bare.eos_token = None
    ensure_pad_token(bare)
    assert bare.pad_token_id == 0


def test_the_sample_fits_the_tiny_preset(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    rows = read_rows(config(), SAMPLE_DATASET)
    prepared = prepare(rows, tokenizer, config(max_length=256, batch_size=8), nothing)
    assert prepared.dropped == prepared.truncated == 0
    assert prepared.desirable == prepared.undesirable


def test_evaluation_rows_may_be_of_one_label(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [row("a", "b", True), row("a", "b", True)]
    assert prepare(rows, tokenizer, config(), nothing, source="eval.jsonl").examples == 2
    with pytest.raises(UserError, match=r"eval.jsonl: none of its 1 rows can be evaluated on"):
        prepare(rows[:1], tokenizer, config(), nothing, source="eval.jsonl")
