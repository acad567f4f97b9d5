"""Scores of completions against the logits that the model itself gives, for several architectures.

Passes that reuse the prompt's keys and values are held against passes that do not.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from kto_tui.training import grouping, shared_prompt
from kto_tui.training.batches import Block, Collator, Sequences
from kto_tui.training.optional import given
from kto_tui.training.passes import Passes
from kto_tui.training.scoring import Scorer, Scores, has_dropout, install_scoring
from kto_tui.training.shared_prompt import can_share

VOCABULARY, MAX_LENGTH, PAD = 31, 40, 0
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,  # else attention is all but even, and a wrong position makes no difference
    "pad_token_id": PAD,
    "bos_token_id": None,
    "eos_token_id": 1,
}
BUILD: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**SIZES, head_dim=8)),
    "wide window": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=MAX_LENGTH)),
    "narrow window": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=6)),
    "two kinds of layer": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SIZES, head_dim=8, sliding_window=MAX_LENGTH)
    ),
    "no attention": lambda: MambaForCausalLM(
        MambaConfig(
            vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=4, pad_token_id=PAD
        )
    ),
}
SHARING = ["llama", "qwen2", "gemma"]  # The others keep something else than all keys and values.
LENGTHS = [(1, 1), (9, 3), (3, 12), (14, 1), (5, 30), (20, 25), (2, 2)]  # prompt, answer; some are cut


def build(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return BUILD[name]().requires_grad_(False)


def make_block(lengths: Sequence[tuple[int, int]] = LENGTHS, *, paired: bool = True) -> Block:
    draw = torch.Generator().manual_seed(7)

    def ids(count: int) -> Any:
        return torch.randint(2, VOCABULARY, (count,), generator=draw, dtype=torch.int32).numpy()

    rows = [
        {"prompt_ids": ids(prompt), "completion_ids": ids(answer), "label": n % 2, "number": n}
        for n, (prompt, answer) in enumerate(lengths)
    ]
    return Collator(PAD, MAX_LENGTH, paired)(rows)


def plainly(model: PreTrainedModel, sequences: Sequences) -> Tensor:
    """(rows,) row by row, from the model's own logits, without padding."""
    sums = []
    for row in range(len(sequences)):
        prompt, length = int(sequences.prompt_lengths[row]), int(sequences.lengths[row])
        ids = sequences.input_ids[row : row + 1, :length]
        with torch.no_grad():
            every = model(input_ids=ids).logits[0].log_softmax(-1)
        sums.append(sum((every[t - 1, ids[0, t]] for t in range(max(prompt, 1), length)), torch.zeros(())))
    return torch.stack(sums)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)


def passes_of(model: PreTrainedModel, reference: PreTrainedModel | None = None) -> Passes:
    @contextmanager
    def as_reference() -> Iterator[Scorer]:
        other = reference or model
        yield Scorer(other, other)

    return Passes(
        lambda: Scorer(model, model), as_reference, None, shares_prompts=can_share(model, MAX_LENGTH)
    )


@pytest.mark.parametrize("name", BUILD)
def test_scores_are_those_of_the_models_own_logits(name: str) -> None:
    model, block = build(name).eval(), make_block()
    wanted = plainly(model, block.own)
    logits = model(input_ids=block.own.input_ids).logits
    install_scoring(model)
    close(given(Scorer(model, model).score(block.own).logps), wanted)
    assert torch.equal(model(input_ids=block.own.input_ids).logits, logits), "other calls stay as they were"


@pytest.mark.parametrize("rows", [7, 3, 1])
@pytest.mark.parametrize("name", BUILD)
def test_no_grad_passes_are_the_plain_ones(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole blocks or parts, grouped by length, with prompts shared wherever that holds."""
    monkeypatch.setattr(grouping, "WORTH_A_PASS", 16)
    model, reference, block = build(name).eval(), build(name, seed=1).eval(), make_block()
    mismatched = given(block.mismatched)
    wanted = [plainly(m, s) for m in (model, reference) for s in (block.own, mismatched)]
    install_scoring(model)
    install_scoring(reference)
    passes = passes_of(model, reference)
    own, other = passes.policy(block, rows)
    close(own, wanted[0])
    close(other, wanted[1])
    known = passes.with_reference(block, rows)
    close(given(known.ref_logps), wanted[2])
    close(given(known.ref_kl_logps), wanted[3])
    (alone,) = passes.policy_mismatched([block], rows)
    close(alone, wanted[1])
    assert passes.shares_prompts == (name in SHARING)


def test_blocks_of_one_step_get_their_own_pairs_back() -> None:
    model = build("llama").eval()
    blocks = [make_block(LENGTHS[:2]), make_block(LENGTHS[2:]), make_block(LENGTHS[::-1])]
    wanted = [plainly(model, given(block.mismatched)) for block in blocks]
    install_scoring(model)
    for found, plain in zip(passes_of(model).policy_mismatched(blocks, 3), wanted, strict=True):
        close(found, plain)


def test_a_loss_without_pairs_has_none() -> None:
    model = build("llama").eval()
    block = make_block(paired=False)
    install_scoring(model)
    passes = passes_of(model)
    (own,) = passes.policy(block, 7)
    close(own, plainly(model, block.own))
    assert passes.with_reference(block, 7).ref_kl_logps is None


def count_tokens(model: Any) -> list[int]:
    seen: list[int] = []
    embed = model.get_input_embeddings()
    embed.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].numel()))
    return seen


def test_a_shared_prompt_is_passed_through_once() -> None:
    model, block = build("llama").eval(), make_block([(20, 4), (20, 3)])
    install_scoring(model)
    passes = passes_of(model)
    passes.policy(block, 2)
    seen = count_tokens(model)
    passes.policy(block, 2)
    assert seen == [2 * 24, 2 * 3]


def test_a_wrongly_shared_prompt_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an architecture that counts positions otherwise. The plain way is gone from then on."""
    model, block = build("llama").eval(), make_block()
    wanted = plainly(model, given(block.mismatched))
    install_scoring(model)
    right = shared_prompt._continuation

    def shifted(*args: Any) -> dict[str, Any]:
        inputs: dict[str, Any] = right(*args)
        return {**inputs, "position_ids": inputs["position_ids"] + 1}

    monkeypatch.setattr(shared_prompt, "_continuation", shifted)
    passes = passes_of(model)
    assert passes.shares_prompts
    for _ in range(2):
        close(passes.policy(block, 7)[1], wanted)
        assert not passes.shares_prompts


def test_an_architecture_that_cannot_share_is_passed_in_the_plain_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, block = build("llama").eval(), make_block()
    wanted = plainly(model, given(block.mismatched))
    install_scoring(model)

    def refuse(*_: Any) -> dict[str, Any]:
        raise ValueError("a mask of four dimensions")

    monkeypatch.setattr(shared_prompt, "_continuation", refuse)
    passes = passes_of(model)
    close(passes.policy(block, 7)[1], wanted)
    assert not passes.shares_prompts


def test_want_of_memory_is_no_reason_to_give_up_sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, block = build("llama").eval(), make_block()
    install_scoring(model)
    right = shared_prompt._continuation

    def refuse(*_: Any) -> dict[str, Any]:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    passes = passes_of(model)
    monkeypatch.setattr(shared_prompt, "_continuation", refuse)
    with pytest.raises(torch.OutOfMemoryError):
        passes.policy(block, 7)
    monkeypatch.setattr(shared_prompt, "_continuation", right)
    passes.policy(block, 3)
    assert passes.shares_prompts


def test_answers_without_a_prompt_are_told_from_their_second_token_on() -> None:
    model, block = build("llama").eval(), make_block([(0, 5), (4, 3), (0, 1)])
    wanted = [plainly(model, s) for s in (block.own, given(block.mismatched))]
    install_scoring(model)
    passes = passes_of(model)
    for found, plain in zip(passes.policy(block, 3), wanted, strict=True):
        close(found, plain)
    assert passes.shares_prompts


@pytest.mark.parametrize("trained", [16, MAX_LENGTH])
def test_positions_that_longer_sequences_change_are_not_shared(trained: int) -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    rope["original_max_position_embeddings"] = trained
    config = LlamaConfig(**SIZES, rope_parameters=rope)
    assert can_share(LlamaForCausalLM(config), MAX_LENGTH) == (trained >= MAX_LENGTH)


def test_answers_of_one_token_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told by the prompt's own pass; what would follow them was never tried."""
    model, short, block = build("llama").eval(), make_block([(9, 1), (5, 1)]), make_block()
    wanted = plainly(model, given(block.mismatched))
    install_scoring(model)
    right = shared_prompt._continuation
    monkeypatch.setattr(shared_prompt, "_continuation", lambda *args: {**right(*args), "position_ids": None})
    passes = passes_of(model)
    passes.policy(short, 2)
    close(passes.policy(block, 7)[1], wanted)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_only_masks_that_are_known_are_shared(implementation: str) -> None:
    model = build("llama")
    model.set_attn_implementation(implementation)
    assert can_share(model, MAX_LENGTH) == (implementation == "sdpa")


def test_a_window_that_is_not_used_is_none() -> None:
    torch.manual_seed(0)
    config = Qwen2Config(**SIZES, sliding_window=6, use_sliding_window=False)
    assert can_share(Qwen2ForCausalLM(config), MAX_LENGTH)


def test_scores_come_with_entropies_and_mean_logits() -> None:
    model, block = build("qwen2").eval(), make_block()
    logits = model(input_ids=block.own.input_ids).logits
    install_scoring(model)
    model.get_input_embeddings().requires_grad_(True)
    scores = Scorer(model, model).score(block.own)
    entropies = torch.special.entr(logits.softmax(-1)).sum(-1)
    for row, (prompt, length) in enumerate(
        zip(block.own.prompt_lengths.tolist(), block.own.lengths.tolist(), strict=True)
    ):
        told = slice(prompt - 1, length - 1)
        close(given(scores.entropies)[row], entropies[row, told].sum())
        close(given(scores.mean_logits)[row], logits[row, told].mean(-1).sum())


def test_gradients_are_those_of_the_models_own_logits() -> None:
    block = make_block()
    found = []
    for scored in (True, False):
        model = build("llama")
        weight = model.base_model.layers[0].mlp.up_proj.weight.requires_grad_(True)
        if scored:
            install_scoring(model)
            total = given(Scorer(model, model).score(block.own).logps).sum()
        else:
            every = model(input_ids=block.own.input_ids).logits.log_softmax(-1)
            total = torch.zeros(())
            for row, (prompt, length) in enumerate(
                zip(block.own.prompt_lengths.tolist(), block.own.lengths.tolist(), strict=True)
            ):
                places = torch.arange(prompt, length)
                total = total + every[row, places - 1, block.own.input_ids[row, places]].sum()
        found.append(torch.autograd.grad(total, weight)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


def test_the_balance_of_experts_is_the_models_own() -> None:
    torch.manual_seed(0)
    config = MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2)
    model: Any = MixtralForCausalLM(config)
    own = make_block().own
    mask = (torch.arange(own.input_ids.shape[1]) < own.lengths[:, None]).long()
    inputs: dict[str, Any] = {"output_router_logits": True, "attention_mask": mask}
    wanted = model(input_ids=own.input_ids, **inputs).aux_loss
    install_scoring(model)
    scores: Scores = Scorer(model, model).score(own, **inputs)
    torch.testing.assert_close(given(scores.aux_loss), wanted)


@pytest.mark.parametrize(("adapters", "attention"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1)])
def test_dropout_is_seen(adapters: float, attention: float) -> None:
    model = LlamaForCausalLM(LlamaConfig(**SIZES, attention_dropout=attention))
    lora = LoraConfig(r=2, lora_dropout=adapters, target_modules="all-linear", task_type="CAUSAL_LM")
    assert has_dropout(get_peft_model(model, lora)) == bool(adapters or attention)


def test_a_scorer_leaves_the_mode_as_it_was() -> None:
    model = build("llama")
    for training in (True, False):
        model.train(training)
        with Scorer(model, model).evaluating():
            assert not model.training
        assert model.training == training
