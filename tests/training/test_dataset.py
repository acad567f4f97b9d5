import itertools
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from kto_tui.core.config import SAMPLE_DATASET, RunConfig
from kto_tui.core.errors import UserError
from kto_tui.data import Row
from kto_tui.training.dataset import (
    planned_blocks,
    prepare,
    split_rows,
    tokenize_row,
    tokenize_rows,
)
from kto_tui.training.reading import read_rows
from kto_tui.training.tiny import build_tokenizer
from kto_tui.training.token_cache import TokenCache
from kto_tui.training.tokenizer import ensure_pad_token


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
    assert prepared.completion_tokens["p95"] == pytest.approx(26.95)
    assert prepared.rows.lengths(12).tolist() == [8, 12, 12, 4]
    assert prepared.groups.tolist() == [0, 0, 1, 2]


def test_no_row_is_dropped_for_want_of_a_partner(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [row("a" * (1 + n), "b", bool(n % 2)) for n in range(5)]
    paired = prepare(rows, tokenizer, config(), nothing)
    assert paired.examples == 5
    assert paired.blocks == [(0, 1, 2), (3, 4)]
    assert prepare(rows, tokenizer, config(loss_type="apo_zero_unpaired"), nothing).blocks == [
        *((0, 1), (2, 3), (4,))
    ]


def test_a_plan_for_another_block_size_can_be_had(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [row("a" * (1 + n), "b", bool(n % 2)) for n in range(8)]
    run = config(batch_size=8)
    prepared = prepare(rows, tokenizer, run, nothing)
    assert prepared.blocks == [tuple(range(8))]
    assert planned_blocks(prepared.rows, prepared.groups, run, 4) == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_answers_to_one_prompt_are_not_each_other_s_mismatched_ones(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    rows = [row(prompt, answer, answer == "b") for prompt in "pqrs" for answer in "bc"]
    prepared = prepare(rows, tokenizer, config(batch_size=4), nothing)
    for block in prepared.blocks:
        prompts = prepared.groups[list(block)]
        assert (prompts != np.roll(prompts, 1)).all()


def test_a_label_without_a_usable_row_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [row("a", "b", True), row("a", "b", True), row("a" * 20, "b", False)]
    with pytest.raises(UserError, match="none of its 1 undesirable rows"):
        prepare(rows, tokenizer, config(max_length=16), nothing)


def test_rows_are_read_in_their_order() -> None:
    rows = read_rows(config(), SAMPLE_DATASET).rows
    places = [int(row.where.rsplit(" ", 1)[1]) for row in rows]
    assert places == sorted(places)


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def answered(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_many_rows_at_once_become_what_each_becomes_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [
        Row(said(f"{n}?"), answered("é" * n), True, "")
        if n % 3
        else Row(f"{n}: ", "yes<|end|>" if n % 2 else "no", False, "")
        for n in range(150)
    ]
    assert tokenize_rows(rows, tokenizer) == [tokenize_row(row, tokenizer) for row in rows]
    prepared = prepare(rows, tokenizer, config(), nothing)
    assert [(r["prompt_ids"].tolist(), r["completion_ids"].tolist(), False) for r in prepared.rows] == (
        tokenize_rows(rows, tokenizer)
    )


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """One that has a token of its own for "ab"."""
    vocabulary = {"a": 0, "b": 1, "ab": 2, ".": 3}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=".")  # type: ignore[no-untyped-call]


def test_tokens_that_merge_where_prompt_and_answer_meet_are_the_answer_s_and_counted() -> None:
    merging = merging_tokenizer()
    assert tokenize_row(row("ba", "ba", True), merging) == ([1], [2, 0, 3], True)
    assert tokenize_row(row("bb", "ba", True), merging) == ([1, 1], [1, 0, 3], False)
    rows = [row("ba", "b", True), row("ba", "a", False), row("a" * 30 + "a", "b", True)]
    assert prepare(rows, merging, config(max_length=16), nothing).shifted == 1


def test_the_tokenizers_library_is_told_again_to_use_one_core(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row("a", "b", True), row("a", "b", False)]
    for before in ("false", None):
        if before:
            monkeypatch.setenv("TOKENIZERS_PARALLELISM", before)
        else:
            monkeypatch.delenv("TOKENIZERS_PARALLELISM")
        prepare(rows, tokenizer, config(), nothing)
        assert os.environ.get("TOKENIZERS_PARALLELISM") == before


def test_a_template_that_refuses_names_the_row() -> None:
    strict = build_tokenizer()
    strict.chat_template = (
        "{% if messages[0]['content'] == 'no' %}{{ raise_exception('roles must alternate') }}{% endif %}x"
    )
    rows = [
        Row(said("no" if n == 70 else "yes"), answered("a"), True, f"rows.jsonl, row {n}") for n in range(99)
    ]
    seen: list[int] = []
    with pytest.raises(UserError, match=r"rows.jsonl, row 70: .*roles must alternate"):
        prepare(rows, strict, config(), lambda done, _: seen.append(done))
    assert seen == list(range(1, 65))


def test_a_conversation_needs_a_template() -> None:
    plain = build_tokenizer()
    plain.chat_template = None
    rows = [row("a", "b", True), Row(said("Hi"), answered("Hello"), True, "rows.jsonl, row 2")]
    with pytest.raises(UserError, match=r"rows.jsonl, row 2: .*no chat template"):
        prepare(rows, plain, config(), nothing)


def test_cached_rows_are_taken_whatever_the_length_and_batch(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    rows = [row("a" * (n + 1), "b" * 9, bool(n % 2)) for n in range(30)]
    seen: list[tuple[int, int]] = []

    def prepared(cache: TokenCache | None, **changes: Any) -> tuple[Any, ...]:
        made = prepare(rows, tokenizer, config(**changes), lambda *at: seen.append(at), cache=cache)
        return (made.rows.ids.tolist(), made.rows.begins.tolist(), made.blocks, made.dropped, made.truncated)

    cache = TokenCache(tmp_path)
    assert prepared(cache) == prepared(None)
    assert len(seen) == 60
    for changes in ({}, {"max_length": 16}, {"batch_size": 5}):
        seen.clear()
        assert prepared(TokenCache(tmp_path), **changes) == prepared(None, **changes)
        assert len(seen) == 31
        assert seen[0] == (30, 30)
    assert cache.problem is None


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
    rows = read_rows(config(), SAMPLE_DATASET).rows
    prepared = prepare(rows, tokenizer, config(max_length=256, batch_size=8), nothing)
    assert prepared.dropped == prepared.truncated == 0
    assert prepared.desirable == prepared.undesirable


def test_evaluation_rows_may_be_of_one_label(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [row("a", "b", True), row("a", "b", True)]
    assert prepare(rows, tokenizer, config(), nothing, source="eval.jsonl").examples == 2
    with pytest.raises(UserError, match=r"eval.jsonl: 1 of its 1 rows can be evaluated on"):
        prepare(rows[:1], tokenizer, config(), nothing, source="eval.jsonl")
    alone = config(loss_type="apo_zero_unpaired")
    assert prepare(rows[:1], tokenizer, alone, nothing, source="eval.jsonl").examples == 1
    long = [row("a" * 20, "b", True)]
    with pytest.raises(UserError, match=r"eval.jsonl: none of its 1 rows can be evaluated on"):
        prepare(long, tokenizer, config(max_length=16), nothing, source="eval.jsonl")


@st.composite
def prompts_with_answers(draw: st.DrawFn) -> list[Row]:
    """Rows of a few prompts or many, of one label or both."""
    prompts = draw(st.integers(1, 12))
    rated = st.tuples(st.integers(1, prompts), draw(st.sampled_from([st.booleans(), st.just(True)])))
    return [Row(f"p{n}", "a", label, "") for n, label in draw(st.lists(rated, min_size=1, max_size=60))]


def can_be_parted(rows: list[Row]) -> bool:
    """Whether any choice of prompts gives either side both labels, tried one by one."""
    labels: dict[Any, set[bool]] = {}
    for each in rows:
        labels.setdefault(str(each.prompt), set()).add(each.label)
    parted = itertools.product((True, False), repeat=len(labels))
    return any(
        set().union(*itertools.compress(labels.values(), sides)) == {True, False}
        and set().union(*itertools.compress(labels.values(), (not side for side in sides))) == {True, False}
        for sides in parted
    )


@settings(deadline=None, derandomize=True, database=None)
@given(rows=prompts_with_answers(), fraction=st.floats(0.001, 0.999), seed=st.integers(0, 3))
def test_a_split_keeps_prompts_together_and_both_labels_on_both_sides(
    rows: list[Row], fraction: float, seed: int
) -> None:
    try:
        train, held_out = split_rows(rows, fraction, seed)
    except UserError:
        assert not can_be_parted(rows)
        return
    assert min(len(train), len(held_out)) >= 2
    assert sorted([*train, *held_out], key=repr) == sorted(rows, key=repr)
    assert not {str(each.prompt) for each in train} & {str(each.prompt) for each in held_out}
    assert {each.label for each in train} == {each.label for each in rows}
    if can_be_parted(rows):
        assert {each.label for each in held_out} == {True, False}


def test_a_split_is_near_to_the_fraction_of_each_label_and_drawn_from_the_seed() -> None:
    rows = [Row(f"p{n}", "a", n % 5 == 0, "") for n in range(500)]
    train, held_out = split_rows(rows, 0.29, 1)
    assert (len(train), len(held_out), sum(row.label for row in held_out)) == (355, 145, 29)
    assert [int(str(row.prompt)[1:]) for row in held_out] == sorted(int(str(r.prompt)[1:]) for r in held_out)
    assert [list(side) for side in split_rows(rows, 0.29, 1)] == [list(train), list(held_out)]
    assert list(split_rows(rows, 0.29, 2)[1]) != list(held_out)


def test_prompts_with_more_rows_than_the_fraction_wants_are_held_out_all_the_same() -> None:
    rows = [Row(f"p{n % 3}", "a", n < 30, "") for n in range(60)]
    _, held_out = split_rows(rows, 0.05, 1)
    assert len(held_out) == 20
    assert len({str(row.prompt) for row in held_out}) == 1


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_either_side_gets_two_rows_of_one_label_too(fraction: float) -> None:
    rows = [Row(f"p{n}", "a", True, "") for n in range(9)]
    sides = split_rows(rows, fraction, 1)
    assert sorted(map(len, sides)) == [2, 7]


def test_rows_that_cannot_be_parted_say_so() -> None:
    rows = [Row("one prompt", answer, answer == "a", "") for answer in "aabb"]
    with pytest.raises(UserError, match=r"^--eval-fraction 0.1: 4 rows with 1 different prompts cannot"):
        split_rows(rows, 0.1, 1)
